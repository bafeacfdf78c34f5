"""The accounts app."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_delete


class AccountsConfig(AppConfig):
    """Notes of every login when and from where it came, and of all that happens to an account."""

    name = "accounts"

    def ready(self) -> None:
        """Connect the signals."""
        from accounts import receivers, sessions
        from accounts.models import User

        user_logged_in.connect(sessions.on_login)
        user_logged_in.connect(receivers.logged_in)
        user_login_failed.connect(receivers.login_failed)
        user_logged_out.connect(receivers.logged_out)
        post_delete.connect(receivers.deleted, sender=User)
