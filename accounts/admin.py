"""The operator's view of users, with their sessions and tokens."""

from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.forms import AdminPasswordChangeForm as DjangoOwnPasswordForm
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm as DjangoPasswordForm
from django.contrib.auth.models import Group
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse_lazy
from django.utils.html import format_html_join

from accounts import passwords, sessions
from accounts.models import Token, User
from core import audit, ratelimit
from core.admin import CountedDeletion, KnownLookups, ViewOnly
from core.errors import ApiError

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


class OwnPasswordForm(DjangoOwnPasswordForm):
    """What an operator gives for a new password of their own."""

    def clean_old_password(self) -> str:
        """Return it as it is: `passwords.change` looks at it, and counts that as a guess."""
        return str(self.cleaned_data["old_password"])


class OwnPasswordView(PasswordChangeView):
    """The admin's page for one's own password, which is changed as by the API."""

    form_class = OwnPasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Return what all pages of the admin show, too."""
        return super().get_context_data(**admin.site.each_context(self.request), **context)

    def form_valid(self, form: Any) -> HttpResponse:
        """Change the password, or say in the form that the old one is wrong.

        Raises as `ratelimit.count`.
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


class PasswordForm(DjangoPasswordForm):  # type: ignore[type-arg]
    """The new password that a superuser sets for somebody; all their sessions end."""

    def save(self, commit: bool = True) -> User:
        """Save the password alone: Django saves all that it read before the slow hashing."""
        user: User = super().save(commit=False)
        with transaction.atomic():
            user.save(update_fields=["password"])
            user.end_sessions()
        return user


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

    list_display: tuple[str, ...] = (
        "username",
        "email",
        "is_staff",
        "is_active",
        "last_login",
        "daily_tokens",
    )
    list_filter = ("is_active", "is_staff", "is_superuser")
    lookups = ("is_active__exact", "is_staff__exact", "is_superuser__exact")
    search_fields = ("username", "email")
    change_password_form = PasswordForm
    inlines = (TokenInline,)
    actions = ("deactivate", "reactivate")
    activity = "Activity"
    fieldsets = (
        (None, {"fields": ("username", "email", "password", "daily_tokens")}),
        (
            activity,
            {
                "fields": ("is_active", "last_login", "date_joined", "logins"),
                "description": "To deactivate or reactivate somebody, choose them in the list of "
                "users: the action there asks for the reason.",
            },
        ),
        ("Rights", {"fields": RIGHTS}),
    )
    readonly_fields: ClassVar[tuple[str, ...]] = (
        "is_active",
        "last_login",
        "date_joined",
        "logins",
    )
    add_fieldsets = (
        (None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),
    )

    @admin.display(description="sessions", empty_value="none")
    def logins(self, user: User) -> str:
        """Tell where the user is logged in."""
        line = "since {created_at}, last seen {last_seen_at}, from {ip_address} with {user_agent}"
        return format_html_join("\n", f"<p>{line}</p>", sessions.list_living(user, current=None))

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
        """Save what was changed, and note in the audit log what others should know of.

        Nothing else, or what was done with the user since they were read would be undone.
        """
        columns = {field.name for field in self.opts.concrete_fields}
        obj.save(update_fields=columns & {*form.changed_data} if change else None)
        if not change:
            audit.record("registration", obj.pk)
        elif "email" in form.changed_data:
            audit.record("email_changed", obj.pk)
        if changed := sorted({*RIGHTS} & {*form.changed_data}):
            audit.record("rights_changed", obj.pk, rights=", ".join(changed))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Delete users one by one, each as by themselves, ending their replies."""
        for user in queryset:
            user.delete()

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
        operator, chosen = cast(User, request.user), list(users)
        allowed = [user for user in chosen if operator.may_deactivate(user)]
        for user in allowed:
            user.deactivate(form.cleaned_data["reason"])
            self.log_change(request, user, f"Deactivated: {form.cleaned_data['reason']}")
        but = "You cannot do this to yourself, nor to a superuser."
        self.tell(request, len(allowed), len(chosen), but)
        return None

    @admin.action(description="Reactivate", permissions=["change"])
    def reactivate(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """Let the chosen users log in again; who gives rights back to the staff gives rights."""
        chosen = list(users)
        done = [user for user in chosen if self.is_in_reach(request, user) and user.reactivate()]
        for user in done:
            self.log_change(request, user, "Reactivated.")
        but = "Who is active was left alone, and only a superuser reactivates staff."
        self.tell(request, len(done), len(chosen), but)

    def tell(self, request: HttpRequest, done: int, chosen: int, but: str) -> None:
        """Tell for how many of the chosen users it was done, and why not for the others."""
        self.message_user(request, f"Done for {done} of {chosen} users.")
        if done < chosen:
            self.message_user(request, but, messages.WARNING)


@admin.register(LogEntry)
class LogEntryAdmin(ViewOnly):
    """The admin's log of all operators, which nobody changes."""

    list_display = ("action_time", "user", "content_type", "object_repr", "change_message")
    list_select_related = ("user", "content_type")
    list_filter = ("action_flag",)
    lookups = ("action_flag__exact",)
    search_fields = ("user__username", "object_repr")

    def has_delete_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        """Nobody deletes one by itself; an operator's go with their account."""
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
