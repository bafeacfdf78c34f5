"""What the admins of both apps share."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Model
from django.db.models.deletion import Collector
from django.http import HttpRequest, HttpResponse

from core.errors import ApiError


class KnownLookups(admin.ModelAdmin):  # type: ignore[type-arg]
    """Lets the address of a list choose by what its own filters and links choose by, no more.

    Django lets it choose by every field, and by the keys of what hangs on an object: so a session's
    key or a title could be guessed letter by letter, by who may see neither. Values that nothing
    can have are refused here, as well: Django hands them to Python's dates and to the database,
    which fail on them.
    """

    lookups: tuple[str, ...] = ()

    # For the year 9999, Django looks for the beginning of the next.
    date_part = re.compile(r"(?!9999)[0-9]{1,4}")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Tell whether a list may be chosen from so."""
        if lookup not in self.lookups or "\0" in value:
            return False
        is_date = lookup.endswith(("__year", "__month", "__day"))
        return not is_date or self.date_part.fullmatch(value) is not None

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Refuse an action on keys that nothing can have, or show the list."""
        try:
            for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.clean(key, None)
        except ValidationError:
            raise ApiError from None
        return super().changelist_view(request, extra_context)


class ViewOnly(KnownLookups):
    """Operators change nothing of what others have made."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds any."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes any."""
        return False


class CountedDeletion(admin.ModelAdmin):  # type: ignore[type-arg]
    """Tells before a deletion how many objects of each kind go with it.

    Django lists them one by one, and descends from each message to the one that follows it: a page
    as long as the conversations, and deeper than Python goes.
    """

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return names, numbers by kind, the kinds that this person may not delete, and nothing.

        The last stands for what is protected from deletion, which nothing is here.
        """
        chosen: Sequence[Model] = list(objs)
        collector = Collector(using=router.db_for_write(self.model), origin=objs)
        collector.collect(chosen)
        numbers = Counter({model: len(them) for model, them in collector.data.items()})
        for them in collector.fast_deletes:
            numbers[them.model] += them.count()

        kinds = [model._meta for model in +numbers]
        denied = {
            kind.verbose_name
            for kind in kinds
            if self.admin_site.is_registered(kind.model)
            and not request.user.has_perm(
                f"{kind.app_label}.{get_permission_codename('delete', kind)}"
            )
        }
        if not all(self.has_delete_permission(request, one) for one in chosen):
            denied.add(self.opts.verbose_name)
        names = [f"{self.opts.verbose_name}: {one}" for one in chosen]
        return names, {kind.verbose_name_plural: numbers[kind.model] for kind in kinds}, denied, []
