"""The chat app."""

from django.apps import AppConfig
from django.db.models.signals import pre_delete


class ChatConfig(AppConfig):
    """Ends the replies of users who may no longer use the server."""

    name = "chat"

    def ready(self) -> None:
        """Connect the signals."""
        from accounts.models import User
        from accounts.signals import access_ended
        from chat import receivers

        access_ended.connect(receivers.stop_replies)
        pre_delete.connect(receivers.stop_replies_of_deleted, sender=User)
