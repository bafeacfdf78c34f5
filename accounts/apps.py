"""The accounts app."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in


class AccountsConfig(AppConfig):
    """Notes of every login when and from where it came."""

    name = "accounts"

    def ready(self) -> None:
        """Connect the signal."""
        from accounts import sessions

        user_logged_in.connect(sessions.has_begun)
