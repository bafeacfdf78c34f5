"""The signals that accounts send to other apps."""

from django.dispatch import Signal

access_ended = Signal()
"""Sent with `user` after a deactivation, and in the transaction that deletes the user."""
