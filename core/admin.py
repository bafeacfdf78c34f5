"""Base classes of the admin pages of all apps."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import DatabaseError, OperationalError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.functional import cached_property

from core.errors import ApiError

MAX_LISTED = 10_000
MAX_NAMED = 100
MAX_SEARCH_LENGTH = 200
MAX_SEARCH_WORDS = 10


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts and shows the first 10,000 objects of a list: the last of a million is far away."""

    @cached_property
    def count(self) -> int:
        """How many objects there are, or `MAX_LISTED` where there are more."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by().values("pk")[:MAX_LISTED].count()

    @property
    def is_bounded(self) -> bool:
        """Whether there may be more."""
        return self.count == MAX_LISTED


class BaseAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Lists that stay fast however long they are, and forms of which two may be sent at once.

    A list is filtered only by `allowed_lookups`, those of the page's own filters and links: Django
    also allows every field and the keys of related objects, so that operators who may not see a
    session's key or a title could guess it letter by letter. Impossible values, on which Python's
    dates or the database would fail, are refused here too.
    """

    allowed_lookups: tuple[str, ...] = ()
    paginator = BoundedPaginator
    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Return whether the list may be filtered by this lookup and value."""
        return lookup in self.allowed_lookups and "\0" not in value

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return what `search` finds; nothing, with a message, for more than a database takes."""
        if len(search_term) > MAX_SEARCH_LENGTH or len(search_term.split()) > MAX_SEARCH_WORDS:
            limits = f"{MAX_SEARCH_WORDS} words and {MAX_SEARCH_LENGTH} characters"
            self.message_user(request, f"Search for at most {limits}.", messages.WARNING)
            return queryset.none(), False
        return self.search(request, queryset, search_term)

    def search(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return what is found, and whether it may have duplicates."""
        return super().get_search_results(request, queryset, search_term)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, or refuse an action on impossible keys."""
        try:
            for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.clean(key, None)
        except ValidationError:
            raise ApiError from None
        return super().changelist_view(request, extra_context)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run an action, unless it is for more objects than the list has shown."""
        is_for_all = request.POST.get("select_across") == "1"
        if is_for_all and self.get_paginator(request, queryset, 1).count == MAX_LISTED:
            problem = f"Narrow the list first: an action is for less than {MAX_LISTED:,} of them."
            self.message_user(request, problem, messages.WARNING)
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *args, **kwargs)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show or save a form; again where a name was taken or a user deleted meanwhile.

        The second time, the form says so.
        """
        try:
            return super().changeform_view(request, *args, **kwargs)
        except OperationalError:
            raise
        except DatabaseError:
            return super().changeform_view(request, *args, **kwargs)


class ReadOnlyAdmin(BaseAdmin):
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
        names = [f"{self.opts.verbose_name}: {one}" for one in selected[:MAX_NAMED]]
        if len(selected) > MAX_NAMED:
            names.append(f"and {len(selected) - MAX_NAMED} more")
        named_counts = {kind.verbose_name_plural: count for kind, count in counts.items()}
        return names, named_counts, denied, []


class MonthFilter(admin.SimpleListFilter):
    """Filters a list by the month of its `date`, one of the last twelve."""

    title = "month"
    parameter_name = "month"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Return the months, the current one first."""
        today = timezone.now().date()
        months = [divmod(today.year * 12 + today.month - 1 - ago, 12) for ago in range(12)]
        return [(f"{year}-{month + 1:02}",) * 2 for year, month in months]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the objects of the chosen month, or all of them."""
        if self.value() is None:
            return queryset
        if self.value() not in dict(self.lookup_choices):
            raise ApiError
        year, month = map(int, str(self.value()).split("-"))
        first = date(year, month, 1)
        following = date(year + month // 12, month % 12 + 1, 1)
        return queryset.filter(date__gte=first, date__lt=following)
