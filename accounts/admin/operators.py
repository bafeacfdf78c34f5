"""How operators log in and change their password; their groups, and the log of what they did."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.contrib.auth.views import PasswordChangeView
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse_lazy

from accounts import passwords
from accounts.forms import LoginForm, OwnPasswordChangeForm
from accounts.models import User
from core.admin import BaseAdmin, ReadOnlyAdmin
from core.errors import ApiError

admin.site.login_form = LoginForm
admin.site.enable_nav_sidebar = False  # the lists need its place


class OwnPasswordChangeView(PasswordChangeView):
    """The page on which operators change their own password, by the same rules as in the API."""

    form_class = OwnPasswordChangeForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Add what every page of the admin needs."""
        return super().get_context_data(**admin.site.each_context(self.request), **context)

    def form_valid(self, form: Any) -> HttpResponse:
        """Change the password, or show in the form that the old one is wrong.

        Raises what `ratelimit.count` raises.
        """
        old, new = form.cleaned_data["old_password"], form.cleaned_data["new_password1"]
        try:
            passwords.change(self.request, cast(User, self.request.user), old, new)
        except ApiError as error:
            if not error.fields:  # too many guesses
                raise
            form.add_error("old_password", error.message)
            return self.form_invalid(form)
        return HttpResponseRedirect(self.get_success_url())


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """The admin's own log of what operators did; nobody can change it."""

    list_display = ("action_time", "user", "content_type", "object_repr", "change_message")
    list_select_related = ("user", "content_type")
    list_filter = ("action_flag",)
    allowed_lookups = ("action_flag__exact",)
    search_fields = ("user__username", "object_repr")

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        """Return the entries of the operators that there are."""
        entries: QuerySet[LogEntry] = super().get_queryset(request)
        return entries.filter(user__deleted_at=None)

    def has_delete_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        """Deny: entries are deleted only with the operator's account."""
        return False


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(BaseAdmin, DjangoGroupAdmin):
    """Groups grant privileges, so only superusers manage them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow superusers only."""
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Allow superusers only."""
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Allow superusers only."""
        return request.user.is_superuser
