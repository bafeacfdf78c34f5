"""The operator's view of users, with their sessions and tokens."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts import sessions
from accounts.forms import DeactivationForm, SetPasswordForm
from accounts.hashing import form_hashes_password
from accounts.models import Session, Token, User, UserDeleted
from core import audit
from core.admin import BaseAdmin, DeletionSummaryAdmin

MAX_SESSIONS_SHOWN = 20
PRIVILEGE_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")


class TokenInline(admin.TabularInline):  # type: ignore[type-arg]
    """A user's tokens; their secrets are not stored anywhere."""

    model = Token
    fields = readonly_fields = ("name", "prefix", "created_at", "last_used_at", "expires_at")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deny: only users create tokens."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deny: only users revoke tokens; an operator deactivates the user."""
        return False


@admin.register(User)
class UserAdmin(BaseAdmin, DeletionSummaryAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    """Users: who they are, where they are logged in, what they own and what they may do."""

    list_display: tuple[str, ...] = (
        "username",
        "email",
        "is_staff",
        "is_active",
        "last_login",
        "daily_tokens",
    )
    list_filter = ("is_active", "is_staff", "is_superuser")
    allowed_lookups = ("is_active__exact", "is_staff__exact", "is_superuser__exact")
    search_fields = ("username", "email")
    change_password_form = SetPasswordForm
    inlines = (TokenInline,)
    actions = ("deactivate", "reactivate")
    activity_section = "Activity"
    fieldsets = (
        (None, {"fields": ("username", "email", "password", "daily_tokens")}),
        (
            activity_section,
            {
                "fields": ("is_active", "last_login", "date_joined"),
                "description": "To deactivate or reactivate users, select them in the list of "
                "users and choose the action there: it asks for the reason.",
            },
        ),
        ("Privileges", {"fields": PRIVILEGE_FIELDS, "classes": ("collapse",)}),
    )
    readonly_fields: ClassVar[tuple[str, ...]] = ("is_active", "last_login", "date_joined")
    add_fieldsets = (
        (None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),
    )

    def get_urls(self) -> list[URLPattern]:
        """Have the forms that set a password handled in the threads for passwords."""
        forms: dict[str, Callable[..., HttpResponse]] = {
            "add/": self.add_view,
            "<id>/password/": self.user_change_password,
        }
        return [
            *(
                path(route, form_hashes_password(self.admin_site.admin_view(view)))
                for route, view in forms.items()
            ),
            path(
                "<int:user_id>/sessions/<int:session_id>/end/",
                self.admin_site.admin_view(self.end_session),
                name="accounts_user_end_session",
            ),
            *super().get_urls(),
        ]

    # --- Sessions ---------------------------------------------------------------------------------

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the sessions in which the user was logged in last."""
        if user := cast("User | None", context.get("original")):
            active = sessions.list_active(user)
            shown = list(active[:MAX_SESSIONS_SHOWN])
            context |= {
                "sessions": [sessions.describe_in_words(each, request) for each in shown],
                "other_sessions": active.count() - len(shown),
                "can_end_sessions": self.has_change_permission(request, user),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def end_session(self, request: HttpRequest, user_id: int, session_id: int) -> HttpResponse:
        """Log a user out of one session."""
        user = cast("User | None", self.get_object(request, str(user_id)))
        if user is None:
            raise Http404
        if request.method != "POST" or not self.has_change_permission(request, user):
            raise PermissionDenied
        if session := sessions.find(user, session_id):
            program = sessions.describe_in_words(session, request)["program"]
            session.end()
            self.log_change(request, user, f"Ended a session: {program}.")
            self.message_user(request, f"{user.username} is logged out of {program}.")
        return HttpResponseRedirect(reverse("admin:accounts_user_change", args=(user.pk,)))

    # --- Permissions ------------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Keep staff from changing their equals or superiors, whose place they could take."""
        return super().has_change_permission(request, obj) and self.can_manage(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Keep staff from deleting their equals, and everybody from deleting themselves."""
        is_allowed = super().has_delete_permission(request, obj)
        return is_allowed and self.can_manage(request, obj) and obj != request.user

    def can_manage(self, request: HttpRequest, user: User | None) -> bool:
        """Return whether the operator may do anything to this user.

        Staff change their own account through the API, which asks for their password.
        """
        is_ordinary = user is None or not (user.is_staff or user.is_superuser)
        return is_ordinary or request.user.is_superuser

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Let only superusers change privileges, or what would let them log in as that user."""
        fields = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return fields
        identity = ("username", "email") if obj else ()
        return (*fields, *PRIVILEGE_FIELDS, *identity)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Hide the link to the password form from those who may not use it."""
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
        """Set a user's password; superusers only."""
        if not request.user.is_superuser:
            raise PermissionDenied
        try:
            return super().user_change_password(request, id, form_url)
        except UserDeleted:  # just now
            raise Http404 from None

    def rows_deleted_with(self, objs: Sequence[User]) -> Iterable[QuerySet[Any]]:
        """Return the users' tokens, sessions and log entries."""
        return [model.objects.filter(user__in=objs) for model in (Token, Session, LogEntry)]

    # --- Actions ----------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save the changed columns, and record in the audit log what matters there.

        The other columns would undo what has happened to the user since the form was opened.
        """
        columns = {field.name for field in self.opts.concrete_fields}
        obj.save(update_fields=columns & {*form.changed_data} if change else None)
        if not change:
            audit.record("registration", obj.pk)
        elif "email" in form.changed_data:
            audit.record("email_changed", obj.pk)
        if changed := sorted({*PRIVILEGE_FIELDS} & {*form.changed_data}):
            audit.record("rights_changed", obj.pk, rights=", ".join(changed))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Delete users one by one, as they would themselves, which ends their replies."""
        for user in queryset:
            user.delete()

    @admin.action(description="Deactivate", permissions=["change"])
    def deactivate(self, request: HttpRequest, users: QuerySet[User]) -> HttpResponseBase | None:
        """Ask for the reason, then end everything that the selected users are doing."""
        form = DeactivationForm(request.POST if "reason" in request.POST else None)
        if not form.is_valid():
            context = {
                **self.admin_site.each_context(request),
                "title": "Deactivate users",
                "opts": self.opts,
                "users": users,
                "form": form,
            }
            return TemplateResponse(request, "admin/accounts/user/deactivate.html", context)
        operator, selected = cast(User, request.user), list(users)
        allowed = [user for user in selected if operator.can_deactivate(user)]
        done = 0
        for user in allowed:
            with suppress(Http404):  # for a user who has just been deleted
                user.deactivate(form.cleaned_data["reason"])
                self.log_change(request, user, f"Deactivated: {form.cleaned_data['reason']}")
                done += 1
        exception = "You cannot deactivate yourself or a superuser."
        self.report_result(request, done, len(selected), exception)
        return None

    @admin.action(description="Reactivate", permissions=["change"])
    def reactivate(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """Let the selected users log in again; only superusers may reactivate staff."""
        selected = list(users)
        done = [user for user in selected if self.can_manage(request, user) and user.reactivate()]
        for user in done:
            self.log_change(request, user, "Reactivated.")
        exception = "Active users were left alone, and only a superuser can reactivate staff."
        self.report_result(request, len(done), len(selected), exception)

    def report_result(self, request: HttpRequest, done: int, selected: int, exception: str) -> None:
        """Show for how many of the selected users it was done, and why not for the others."""
        self.message_user(request, f"Done for {done} of {selected} users.")
        if done < selected:
            self.message_user(request, exception, messages.WARNING)
