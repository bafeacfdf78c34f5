"""The admin's forms for logins, passwords and deactivations."""

from typing import Any, cast

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.forms import AdminPasswordChangeForm as DjangoOwnPasswordChangeForm
from django.contrib.auth.forms import AdminPasswordChangeForm as DjangoSetPasswordForm
from django.db import transaction
from django.http import HttpRequest

from accounts import passwords
from accounts.models import User
from core import ratelimit


class LoginForm(AdminAuthenticationForm):
    """The admin's login, under the same rate limits as the API's."""

    def clean(self) -> dict[str, Any]:
        """Count the attempt, then check the password. Raises what `ratelimit.count` raises."""
        request = cast(HttpRequest, self.request)
        ratelimit.count(request, "login", ratelimit.key_of_address(request), needs_cache=True)
        if name := self.cleaned_data.get("username"):
            passwords.count_guess(request, name)
        return super().clean()


class OwnPasswordChangeForm(DjangoOwnPasswordChangeForm):
    """The form in which operators change their own password."""

    def clean_old_password(self) -> str:
        """Return it unchecked: `passwords.change` checks it and counts that as a guess."""
        return str(self.cleaned_data["old_password"])


class SetPasswordForm(DjangoSetPasswordForm):  # type: ignore[type-arg]
    """The form in which a superuser sets another user's password, which ends their sessions."""

    def save(self, commit: bool = True) -> User:
        """Save the password only: Django saves every column as it was before the slow hashing."""
        user: User = super().save(commit=False)
        with transaction.atomic():
            user.save(update_fields=["password"])
            user.end_sessions()
        return user


class DeactivationForm(forms.Form):
    """The reason for which an operator deactivates users."""

    reason = forms.CharField(
        max_length=200, widget=forms.TextInput(attrs={"size": 60, "autofocus": True})
    )
