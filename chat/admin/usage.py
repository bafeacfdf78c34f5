"""The operator's view of usage, and of what runs now."""

from typing import Any

from django.contrib import admin
from django.contrib.messages import WARNING
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path

from chat import operations
from chat.admin.base import OfUsersAdmin, of_visible_users
from chat.models import Usage
from core.admin import MonthFilter


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
