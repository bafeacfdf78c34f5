"""The accounts app."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_delete


class AccountsConfig(AppConfig):
    """Users and their sessions; every login and every change of an account is recorded."""

    name = "accounts"

    def ready(self) -> None:
        """Connect the signals."""
        from accounts import receivers, sessions
        from accounts.models import User

        user_logged_in.connect(sessions.initialize)
        user_logged_in.connect(receivers.record_login)
        user_login_failed.connect(receivers.record_failed_login)
        user_logged_out.connect(receivers.record_logout)
        post_delete.connect(receivers.record_deletion, sender=User)
