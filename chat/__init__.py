"""Threads, messages, and the replies that a model writes."""
