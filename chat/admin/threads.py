"""The operator's view of threads, to view and to delete."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from chat import branches, statements, threads
from chat.admin.base import OfUsersAdmin, count_of, of_visible_users
from chat.models import Message, Thread
from core import audit
from core.admin import DeletionSummaryAdmin

MESSAGES_SHOWN = 100  # of a conversation at once
MESSAGE_ID = re.compile("[0-9]{1,18}")


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
