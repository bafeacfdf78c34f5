"""Base classes of the admin pages of both apps."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from core.errors import ApiError


class RestrictedLookupsAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Filters a list only by `allowed_lookups`, those of the page's own filters and links.

    Django also allows every field and the keys of related objects, so that operators who may not
    see a session's key or a title could guess it letter by letter. Impossible values, on which
    Python's dates or the database would fail, are refused here too.
    """

    allowed_lookups: tuple[str, ...] = ()

    # For the year 9999, Django looks for the beginning of the next.
    date_part = re.compile(r"(?!9999)[0-9]{1,4}")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Return whether the list may be filtered by this lookup and value."""
        if lookup not in self.allowed_lookups or "\0" in value:
            return False
        is_date = lookup.endswith(("__year", "__month", "__day"))
        return not is_date or self.date_part.fullmatch(value) is not None

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, or refuse an action on impossible keys."""
        try:
            for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.clean(key, None)
        except ValidationError:
            raise ApiError from None
        return super().changelist_view(request, extra_context)


class ReadOnlyAdmin(RestrictedLookupsAdmin):
    """Lets operators view objects, and delete them where they have the permission."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Deny."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deny."""
        return False


class DeletionSummaryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows before a deletion how many objects of each kind will be deleted too.

    Django lists them one by one, and recurses from each message to its children: on long threads
    the page is endless and the recursion too deep for Python.
    """

    def rows_deleted_with(self, objs: Sequence[Any]) -> Iterable[QuerySet[Any]]:
        """Return, for each kind of object that is deleted with these, the objects."""
        raise NotImplementedError

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return the objects' names, the counts by kind, the kinds that are denied, and nothing.

        The last is for objects that are protected from deletion: there are none here.
        """
        selected: Sequence[Any] = list(objs)
        counts = {self.opts: len(selected)}
        for rows in self.rows_deleted_with(selected):
            if count := rows.count():
                counts[rows.model._meta] = count

        denied = {
            kind.verbose_name
            for kind in counts
            if self.admin_site.is_registered(kind.model)
            and not request.user.has_perm(
                f"{kind.app_label}.{get_permission_codename('delete', kind)}"
            )
        }
        if not all(self.has_delete_permission(request, one) for one in selected):
            denied.add(self.opts.verbose_name)
        names = [f"{self.opts.verbose_name}: {one}" for one in selected]
        return (
            names,
            {kind.verbose_name_plural: count for kind, count in counts.items()},
            denied,
            [],
        )
