"""The settings of the tests' servers: production's, but for the time that a password takes."""

from llama_chatbot.settings import *  # noqa: F403

PASSWORD_HASHERS = ["testing.hashing.QuickHasher"]
