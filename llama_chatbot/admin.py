"""What the admins of both apps share."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_permission_codename
from django.db import router
from django.db.models import Model
from django.db.models.deletion import Collector
from django.http import HttpRequest


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
