"""The operator's view of users, with their sessions and tokens."""

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from accounts import passwords, sessions
from accounts.models import Token, User
from llama_chatbot import audit, ratelimit
from llama_chatbot.admin import CountedDeletion, KnownLookups, ViewOnly

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


class LoginForm(AdminAuthenticationForm):
    """The admin's login, under the same limits as the API's."""

    def clean(self) -> dict[str, Any]:
        """Count the try, then look at the password. Raises as `ratelimit.count`."""
        request = cast(HttpRequest, self.request)
        ratelimit.count(request, "login", needs_cache=True)
        if name := self.cleaned_data.get("username"):
            passwords.count_guess(request, name)
        return super().clean()


admin.site.login_form = LoginForm


class Deactivation(forms.Form):
    """What an operator says when they deactivate somebody."""

    reason = forms.CharField(
        max_length=200, widget=forms.TextInput(attrs={"size": 60, "autofocus": True})
    )


class TokenInline(admin.TabularInline):  # type: ignore[type-arg]
    """A user's tokens; their secrets are stored nowhere."""

    model = Token
    fields = readonly_fields = ("name", "prefix", "created_at", "last_used_at", "expires_at")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only users make tokens."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only users revoke them; an operator deactivates."""
        return False


@admin.register(User)
class UserAdmin(KnownLookups, CountedDeletion, DjangoUserAdmin):  # type: ignore[type-arg]
    """Users: who they are, where they are logged in, what they have and what they may."""

    list_display = (
        "username",
        "email",
        "is_staff",
        "is_active",
        "last_login",
        "daily_tokens",
        "number_of_threads",
    )
    list_filter = ("is_active", "is_staff", "is_superuser")
    lookups = ("is_active__exact", "is_staff__exact", "is_superuser__exact")
    search_fields = ("username", "email")
    inlines = (TokenInline,)
    actions = ("deactivate", "reactivate")
    fieldsets = (
        (None, {"fields": ("username", "email", "password", "daily_tokens")}),
        (
            "Activity",
            {
                "fields": ("is_active", "last_login", "date_joined", "conversations", "logins"),
                "description": "To deactivate or reactivate somebody, choose them in the list of "
                "users: the action there asks for the reason.",
            },
        ),
        ("Rights", {"fields": RIGHTS}),
    )
    readonly_fields = ("is_active", "last_login", "date_joined", "conversations", "logins")
    add_fieldsets = (
        (None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Return the users, each with `threads__count`."""
        users: QuerySet[User] = super().get_queryset(request)
        return users.annotate(Count("threads"))

    @admin.display(description="threads", ordering="threads__count")
    def number_of_threads(self, user: Any) -> int:
        """Return how many threads the user has."""
        return int(user.threads__count)

    @admin.display(description="threads and usage")
    def conversations(self, user: Any) -> str:
        """Link to the user's threads and to what they have used."""
        return format_html(
            '<a href="{0}?user__id__exact={2}">{3} threads</a>, '
            '<a href="{1}?user__id__exact={2}">usage</a>',
            reverse("admin:chat_thread_changelist"),
            reverse("admin:chat_usage_changelist"),
            user.pk,
            user.threads__count,
        )

    @admin.display(description="sessions", empty_value="none")
    def logins(self, user: User) -> str:
        """Tell where the user is logged in."""
        line = "since {created_at}, last seen {last_seen_at}, from {ip_address} with {user_agent}"
        return format_html_join("\n", f"<p>{line}</p>", sessions.of(user, current=None))

    # --- Who may do what -------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Keep staff from those who are their equals or above, or they could become them."""
        return super().has_change_permission(request, obj) and self.is_in_reach(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Keep staff from their equals, and everybody from themselves."""
        may = super().has_delete_permission(request, obj)
        return may and self.is_in_reach(request, obj) and obj != request.user

    def is_in_reach(self, request: HttpRequest, user: User | None) -> bool:
        """Tell whether the request's user may touch that one at all.

        Staff change what is their own through the API, which asks for their password.
        """
        is_ordinary = user is None or not (user.is_staff or user.is_superuser)
        return is_ordinary or request.user.is_superuser

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Leave to superusers the rights, and what would let one log in as somebody else."""
        fields = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return fields
        return (*fields, *RIGHTS) if obj is None else (*fields, *RIGHTS, "username", "email")

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Lead to the form of a password only who may use it."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or request.user.is_superuser:
            return fieldsets
        return [
            (name, {**options, "fields": [f for f in options["fields"] if f != "password"]})
            for name, options in fieldsets
        ]

    def user_change_password(
        self,
        request: HttpRequest,
        id: str,
        form_url: str = "",
    ) -> HttpResponse:
        """Set somebody's password; for superusers."""
        if not request.user.is_superuser:
            raise PermissionDenied
        return super().user_change_password(request, id, form_url)

    # --- What is done ----------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save, and note in the audit log what others should know of."""
        super().save_model(request, obj, form, change)
        if not change:
            audit.record("registration", obj.pk)
        elif "email" in form.changed_data:
            audit.record("email_changed", obj.pk)
        if changed := sorted({*RIGHTS} & {*form.changed_data}):
            audit.record("rights_changed", obj.pk, rights=", ".join(changed))

    @admin.action(description="Deactivate", permissions=["change"])
    def deactivate(self, request: HttpRequest, users: QuerySet[User]) -> HttpResponseBase | None:
        """Ask for the reason, then end at once what the chosen users do here."""
        form = Deactivation(request.POST if "reason" in request.POST else None)
        if not form.is_valid():
            context = {
                **self.admin_site.each_context(request),
                "title": "Deactivate users",
                "opts": self.opts,
                "users": users,
                "form": form,
            }
            return TemplateResponse(request, "admin/accounts/user/deactivate.html", context)
        for user in self.those_who_may_be(users, request):
            user.deactivate(form.cleaned_data["reason"])
            self.log_change(request, user, f"Deactivated: {form.cleaned_data['reason']}")
        return None

    @admin.action(description="Reactivate", permissions=["change"])
    def reactivate(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """Let the chosen users log in again."""
        for user in self.those_who_may_be(users, request):
            user.reactivate()
            self.log_change(request, user, "Reactivated.")

    def those_who_may_be(self, users: QuerySet[User], request: HttpRequest) -> list[User]:
        """Return those of `users` whom this operator may deactivate, and tell of the others."""
        chosen = list(users)
        operator = cast(User, request.user)
        allowed = [user for user in chosen if operator.may_deactivate(user)]
        self.message_user(request, f"Done for {len(allowed)} of {len(chosen)} users.")
        if len(allowed) < len(chosen):
            says = "You cannot do this to yourself, nor to a superuser."
            self.message_user(request, says, messages.WARNING)
        return allowed


@admin.register(LogEntry)
class LogEntryAdmin(ViewOnly):
    """The admin's log of all operators, which nobody changes."""

    list_display = ("action_time", "user", "content_type", "object_repr", "change_message")
    list_select_related = ("user", "content_type")
    list_filter = ("action_flag",)
    lookups = ("action_flag__exact",)
    search_fields = ("user__username", "object_repr")

    def has_delete_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        """Nobody deletes any."""
        return False


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(KnownLookups, DjangoGroupAdmin):
    """Groups give rights, so they are the superusers' alone."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Leave it to superusers."""
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Leave it to superusers."""
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Leave it to superusers."""
        return request.user.is_superuser
