"""The operator's view of threads, messages and usage: to view, and threads also to delete.

What users wrote is shown only to those who may view messages: titles too, since they are made of a
message's first words.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, cast

from django.contrib import admin
from django.contrib.messages import WARNING
from django.core.exceptions import PermissionDenied
from django.db.models import BigIntegerField, Count, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce, Left
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator

from accounts.admin import UserAdmin as AccountsUserAdmin
from accounts.models import Token, User
from accounts.sessions import time_ago
from chat import branches, operations, statements, threads
from chat.models import Message, MessageQuerySet, RatedReply, Thread, Usage
from chat.views.transfer import account_download
from core import audit
from core.admin import MAX_LISTED, DeletionSummaryAdmin, MonthFilter, ReadOnlyAdmin

MAX_BEGINNING = 100  # characters of a message in the list
DAYS_OF_USE = 30
MESSAGES_SHOWN = 100  # of a conversation at once
MESSAGE_ID = re.compile("[0-9]{1,18}")

admin.site.unregister(User)


def count_of(rows: QuerySet[Any], field: str) -> Coalesce:
    """Return the number of `rows` whose `field` refers to the object of the query.

    A subquery counts for the objects of one page; a join would count every row there is.
    """
    of_object = rows.filter(**{field: OuterRef("pk")}).order_by().values(field)
    return Coalesce(Subquery(of_object.annotate(count=Count("pk")).values("count")), 0)


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


@admin.register(Thread)
class ThreadAdmin(OfUsersAdmin, DeletionSummaryAdmin):
    """Threads, with their number of messages."""

    list_display = ("__str__", "user", "model", "number_of_messages", "created_at", "updated_at")
    list_select_related = ("user",)
    list_filter = ("model",)
    allowed_lookups = ("user__id__exact", "model", "model__isnull")
    ordering = ("-pk",)
    fields = ("user", "model", "created_at", "updated_at", "number_of_messages")
    private_fields = ("title", "system_prompt", "options", "messages")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Thread]:
        """Return the threads, each with its number of messages."""
        threads: QuerySet[Thread] = of_visible_users(super().get_queryset(request))
        return threads.defer("system_prompt", "options").annotate(
            number_of_messages=count_of(Message.objects.all(), "thread")
        )

    def get_list_display(self, request: HttpRequest) -> Any:
        """Show titles to those who may read them."""
        name = "titled" if request.user.has_perm("chat.view_message") else "__str__"
        return (name, *self.list_display[1:])

    @admin.display(description="title")
    def titled(self, thread: Thread) -> str:
        """Return the title, as its user sees it."""
        return thread.title or Thread.UNTITLED

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the conversation to those who may read it."""
        if context.get("original") and request.user.has_perm("chat.view_message"):
            context |= self.conversation(request, context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def conversation(self, request: HttpRequest, thread: Thread) -> dict[str, Any]:
        """Return the newest messages of the current branch, up to the one the address names."""
        until = request.GET.get("until", "")
        end = int(until) if MESSAGE_ID.fullmatch(until) else branches.end_of(thread)
        newest_first = statements.page_of_branch(thread.pk, end or 0, MESSAGES_SHOWN + 1)
        audit.record("conversation_read", thread.user_id, thread=thread.pk)
        return {
            "can_read": True,
            "conversation": newest_first[:MESSAGES_SHOWN][::-1],
            "older": newest_first[MESSAGES_SHOWN].pk if newest_first[MESSAGES_SHOWN:] else None,
            "is_older": bool(until),
        }

    @admin.display(description="messages")
    def number_of_messages(self, thread: Any) -> int:
        """Return how many messages the thread has."""
        return int(thread.number_of_messages)

    @admin.display(description="messages of all branches")
    def messages(self, thread: Thread) -> str:
        """Return a link to the thread's messages."""
        url = reverse("admin:chat_message_changelist")
        return format_html('<a href="{}?thread__id__exact={}">All of them</a>', url, thread.pk)

    def get_fields(self, request: HttpRequest, obj: Thread | None = None) -> Any:
        """Show what the user wrote to those who may read it."""
        can_read = request.user.has_perm("chat.view_message")
        return (*self.fields, *(self.private_fields if can_read else ()))

    def rows_deleted_with(self, objs: Sequence[Thread]) -> Iterable[QuerySet[Any]]:
        """Return the threads' messages."""
        return [Message.objects.filter(thread__in=objs)]

    def delete_model(self, request: HttpRequest, obj: Thread) -> None:
        """Delete a thread and end its running reply."""
        threads.delete(Thread.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        """Delete threads and end their running replies."""
        threads.delete(queryset)


class MessagesAdmin(OfUsersAdmin):
    """Messages of the threads that there are."""

    list_select_related = ("thread__user",)
    user_field = "thread__user"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """Return the messages of the threads that there are, each with its `beginning`."""
        messages = cast(MessageQuerySet, super().get_queryset(request)).visible()
        beginning = Left("content", MAX_BEGINNING + 1)
        return messages.defer("content", "thinking").annotate(beginning=beginning)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deny: a message's children would be deleted too."""
        return False

    @admin.display
    def user(self, message: Message) -> str:
        """Return the name of the thread's user."""
        return message.thread.user.username

    @admin.display(description="text")
    def beginning(self, message: Any) -> str:
        """Return the first words."""
        return Truncator(message.beginning).chars(MAX_BEGINNING)


@admin.register(Message)
class MessageAdmin(MessagesAdmin):
    """Messages; users with only the view permission for threads see none of this."""

    list_display = ("__str__", "thread", "user", "sender", "status", "created_at", "beginning")
    list_filter = ("sender", "status")
    allowed_lookups = ("thread__id__exact", "sender__exact", "status__exact")
    ordering = ("pk",)
    fields = (
        "thread",
        "parent",
        "sender",
        "status",
        "created_at",
        "content",
        "thinking",
        "model",
        "error_code",
        "prompt_tokens",
        "completion_tokens",
        "duration_ms",
    )


@admin.register(RatedReply)
class RatedReplyAdmin(MessagesAdmin):
    """What users think of replies, listed with their comments and counted by model."""

    list_display = ("__str__", "thread", "user", "model", "rating", "rating_comment", "rated_at")
    list_filter = ("rating",)
    allowed_lookups = ("rating__exact",)
    ordering = ("-rated_at", "-pk")
    fields = ("rating", "rating_comment", "rated_at", *MessageAdmin.fields)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """Return the replies that are rated."""
        return super().get_queryset(request).filter(rating__isnull=False)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow those who may view messages."""
        return request.user.has_perm("chat.view_message")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Allow the same."""
        return self.has_view_permission(request)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the list with the `counts` of its newest replies by model."""
        listed = super().get_changelist_instance(request)
        newest = listed.queryset.values("pk")[:MAX_LISTED]
        by_model = RatedReply.objects.filter(pk__in=newest).order_by("model").values("model")
        listed.counts = by_model.annotate(  # type: ignore[attr-defined]
            good=Count("pk", filter=Q(rating=1)), bad=Count("pk", filter=Q(rating=-1))
        )
        return listed


@admin.register(Usage)
class UsageAdmin(OfUsersAdmin):
    """How much each user has used each model each day."""

    list_display = ("date", "user", "model", "replies", "prompt_tokens", "completion_tokens")
    list_select_related = ("user",)
    list_filter = (MonthFilter, "model")
    allowed_lookups = ("user__id__exact", "model", "model__isnull", "month")
    ordering = (F("date").desc(), "user", "model")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Usage]:
        """Return the usage of the users that there are."""
        return of_visible_users(super().get_queryset(request))

    def get_urls(self) -> Any:
        """Add the page of what runs now."""
        page = self.admin_site.admin_view(self.operations)
        return [path("now/", page, name="chat_operations"), *super().get_urls()]

    def operations(self, request: HttpRequest) -> HttpResponseBase:
        """Show what runs now and how much was used lately; stop a reply, with a form's `reply_id`.

        The page is for those who may view usage, and stopping for those who may change messages.
        """
        may_stop = request.user.has_perm("chat.change_message")
        if not self.has_view_permission(request) or (request.method == "POST" and not may_stop):
            raise PermissionDenied
        if request.method == "POST":
            if operations.stop(request.POST.get("reply_id", "")):
                self.message_user(request, "The reply is stopped.")
            else:
                self.message_user(request, "That reply does not run any more.", WARNING)
            return redirect("admin:chat_operations")
        context = {
            **self.admin_site.each_context(request),
            **operations.overview(),
            "title": "What runs now",
            "may_stop": may_stop,
        }
        return TemplateResponse(request, "admin/chat/operations.html", context)
