"""The settings of the tests: a pytest plugin, because Django reads them before any conftest.

Like production, but over plain HTTP and with rates that no test meets by accident.
"""

import os
import tempfile

directory = tempfile.TemporaryDirectory(prefix="llama-chatbot-")

ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "testing.settings",
    "LLAMA_CHATBOT_ENV_FILE": "",
    "SECRET_KEY": "a-secret-key-that-only-tests-have-and-that-is-long-enough-for-django",
    "DATABASE_URL": os.environ.get("TEST_DATABASE_URL", f"sqlite:///{directory.name}/db.sqlite3"),
    "SECURE_SSL_REDIRECT": "false",
    "FRONTEND_ORIGINS": "https://app.example.com",
    "EMAIL_URL": "memory:",
    **{
        f"RATE_LIMIT_{name}": "100000/m"
        for name in (
            "CHAT",
            "READ",
            "WRITE",
            "LOGIN",
            "LOGIN_ACCOUNT",
            "REGISTER",
            "PASSWORD_RESET",
            "EXPORT",
            "IMPORT",
        )
    },
}

os.environ.update(ENVIRONMENT)
