"""Replies, from the message that asks for one to its end."""
