"""The operator's view of messages and of what users think of replies."""

from typing import Any, cast

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.utils.text import Truncator

from chat.admin.base import OfUsersAdmin
from chat.models import Message, MessageQuerySet, RatedReply
from core.admin import MAX_LISTED

MAX_BEGINNING = 100  # characters of a message in the list


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
