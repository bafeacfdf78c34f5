"""The operator's view of users, with their threads and usage."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import BigIntegerField, F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html

from accounts.admin import UserAdmin as AccountsUserAdmin
from accounts.models import Token, User
from accounts.sessions import time_ago
from chat.admin.base import count_of
from chat.models import Message, Thread, Usage
from chat.views.transfer import account_download
from core import audit

DAYS_OF_USE = 30
admin.site.unregister(User)


@admin.register(User)
class UserAdmin(AccountsUserAdmin):
    """Users, with links to their threads and usage."""

    list_display = (
        "username",
        "email",
        "is_active",
        "last_login_ago",
        "number_of_threads",
        "number_of_tokens",
        "used",
        "daily_tokens",
    )
    readonly_fields = (*AccountsUserAdmin.readonly_fields, "related_links", "export_link")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Return the users, each with numbers of threads and API tokens, and the use."""
        users: QuerySet[User] = super().get_queryset(request)
        since = timezone.now().date() - timedelta(days=DAYS_OF_USE - 1)
        usage = Usage.objects.filter(user=OuterRef("pk"), date__gte=since).order_by()
        used = usage.values("user").annotate(sum=Sum(F("prompt_tokens") + F("completion_tokens")))
        return users.annotate(
            number_of_threads=count_of(Thread.objects.all(), "user"),
            number_of_tokens=count_of(Token.objects.valid(), "user"),
            used=Coalesce(Subquery(used.values("sum")), 0),
        )

    def rows_deleted_with(self, objs: Sequence[User]) -> Iterable[QuerySet[Any]]:
        """Add the users' threads, messages and usage."""
        return [
            Thread.objects.filter(user__in=objs),
            Message.objects.visible().filter(thread__user__in=objs),
            Usage.objects.filter(user__in=objs),
            *super().rows_deleted_with(objs),
        ]

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Add the links to the user's threads and usage, and for superusers to the export."""
        links = ("related_links", *(("export_link",) if request.user.is_superuser else ()))
        return [
            (name, {**options, "fields": (*options["fields"], *links)})
            if name == self.activity_section
            else (name, options)
            for name, options in super().get_fieldsets(request, obj)
        ]

    def get_urls(self) -> Any:
        """Add the page that exports a user's account."""
        export = self.admin_site.admin_view(self.export)
        return [path("<int:pk>/export/", export, name="accounts_user_export"), *super().get_urls()]

    def export(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Return all that is kept of a user; for superusers."""
        if not request.user.is_superuser:
            raise PermissionDenied
        if pk > BigIntegerField.MAX_BIGINT:
            raise Http404
        user = get_object_or_404(User, pk=pk)
        audit.record("export", user.pk)
        return account_download(user)

    @admin.display(description="threads")
    def number_of_threads(self, user: Any) -> int:
        """Return how many threads the user has."""
        return int(user.number_of_threads)

    @admin.display(description="last login", ordering="last_login", empty_value="never")
    def last_login_ago(self, user: User) -> str | None:
        """Return how long ago the user logged in, in words."""
        return time_ago(user.last_login) if user.last_login else None

    @admin.display(description="API tokens")
    def number_of_tokens(self, user: Any) -> int:
        """Return how many tokens of the user's are valid."""
        return int(user.number_of_tokens)

    @admin.display(description=f"used, {DAYS_OF_USE} days")
    def used(self, user: Any) -> str:
        """Return how many tokens models have read and written for the user."""
        return f"{user.used:,}"

    @admin.display(description="threads and usage")
    def related_links(self, user: Any) -> str:
        """Return links to the user's threads and usage."""
        return format_html(
            '<a href="{0}?user__id__exact={2}">{3} threads</a>, '
            '<a href="{1}?user__id__exact={2}">usage</a>',
            reverse("admin:chat_thread_changelist"),
            reverse("admin:chat_usage_changelist"),
            user.pk,
            user.number_of_threads,
        )

    @admin.display(description="export")
    def export_link(self, user: User) -> str:
        """Return a link to all that is kept of the user."""
        url = reverse("admin:accounts_user_export", args=(user.pk,))
        return format_html('<a href="{}">All that is kept of this account</a>', url)
