"""Passwords that are hashed in milliseconds, where production takes half a second."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """Django's own with fewer iterations; still slow enough for two calls to meet."""

    iterations = 20_000
