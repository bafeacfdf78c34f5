"""What other apps may want to know about accounts."""

from django.dispatch import Signal

access_ended = Signal()
"""Sent with `user` when somebody has been deactivated, and in the transaction that deletes them."""
