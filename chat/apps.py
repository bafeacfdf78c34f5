"""The chat app."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Ends the replies of users who may no longer use the server."""

    name = "chat"

    def ready(self) -> None:
        """Connect the signals."""
        from django.db.models.signals import post_migrate

        from accounts.signals import access_ended
        from chat import receivers

        access_ended.connect(receivers.end_replies)
        post_migrate.connect(receivers.install_search, sender=self)
