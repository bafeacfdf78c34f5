"""What the operator's views of threads, messages and usage share."""

from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from accounts.models import User
from core.admin import ReadOnlyAdmin


def count_of(rows: QuerySet[Any], field: str) -> Coalesce:
    """Return the number of `rows` whose `field` refers to the object of the query.

    A subquery counts for the objects of one page; a join would count every row there is.
    """
    of_object = rows.filter(**{field: OuterRef("pk")}).order_by().values(field)
    return Coalesce(Subquery(of_object.annotate(count=Count("pk")).values("count")), 0)


class OfUsersAdmin(ReadOnlyAdmin):
    """What belongs to users; searched by the exact name of one.

    Not by the address, which is not shown and could be guessed letter by letter.
    """

    search_fields = ("user",)
    search_help_text = "The name of a user."
    user_field = "user"
    sortable_by = ()  # no order but the one there is an index for

    def search(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return what belongs to the user of that name."""
        if not search_term:
            return queryset, False
        user = User.objects.filter(username__lower=search_term.strip().lower()).first()
        return queryset.filter(**{self.user_field: user}) if user else queryset.none(), False


def of_visible_users(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return the rows whose user is not being deleted; without a join, which all would take."""
    return rows.exclude(user__in=User.all_objects.filter(deleted_at__isnull=False))
