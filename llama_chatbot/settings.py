"""Every setting, read from the environment or from the file `.env` next to `manage.py`.

The environment takes precedence over the file. An invalid value stops the start with one line that
names its variable. docs/settings.md explains them all.
"""

import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from environs import validate
from pythonjsonlogger.core import RESERVED_ATTRS

from llama_chatbot.environment import (
    POSITIVE,
    email_settings,
    env,
    http_urls,
    origins,
    password_reset_url,
    rate,
    read,
    seconds_or_none,
)

BASE_DIR = Path(__file__).resolve().parent.parent

env_file = env.str("LLAMA_CHATBOT_ENV_FILE", str(BASE_DIR / ".env"))
if env_file:
    env.read_env(env_file, recurse=False)

# --- Django -------------------------------------------------------------------------------------

DEBUG: bool = read(env.bool, "DEBUG", False)
SECRET_KEY: str = read(env.str, "SECRET_KEY", "insecure-key-for-debugging" if DEBUG else "")
if not SECRET_KEY:
    sys.exit("Cannot start, the setting SECRET_KEY is missing: set it, or set DEBUG to true")

ALLOWED_HOSTS: list[str] = [
    host.strip() for host in read(env.list, "ALLOWED_HOSTS", ["localhost", "127.0.0.1"])
]
FRONTEND_ORIGINS: list[str] = read(origins, "FRONTEND_ORIGINS")
CHAT_PAGE: bool = read(env.bool, "CHAT_PAGE", True)
PORT: int = read(env.int, "PORT", 8000, validate=validate.Range(min=1, max=65535))

INSTALLED_APPS = [
    "llama_chatbot",  # for its commands: its `runserver` takes precedence over Django's
    "accounts",
    "chat",
    "corsheaders",
    "ninja",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *(["web"] if CHAT_PAGE else []),
]

MIDDLEWARE = [
    "core.middleware.RequestId",
    "core.middleware.ContentSecurityPolicy",
    "core.middleware.NoStore",
    "openai_api.errors.OpenAiErrors",
    "core.middleware.JsonErrors",
    "core.middleware.RateLimitHeaders",
    "core.middleware.AllowedHosts",
    "core.django_middleware.Security",
    "core.django_middleware.StaticFiles",
    "corsheaders.middleware.CorsMiddleware",
    "core.middleware.BodyErrors",
    "core.middleware.CrossOriginProtection",
    "core.django_middleware.Sessions",
    "core.django_middleware.Csrf",
    "core.django_middleware.Authentication",
    "core.django_middleware.Messages",
    "core.django_middleware.XFrameOptions",
]

# These three look for Django's classes by name. Ours are subclasses, and covered by tests.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002", "security.W003"]

# An action in the admin sends the id of every selected user, which may be more than Django's 1,000.
# The form as a whole is limited by the size of a body; SQLite takes 32,766 keys in one query.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 30_000

ROOT_URLCONF = "llama_chatbot.urls"
ASGI_APPLICATION = "llama_chatbot.asgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

STATIC_URL = "static/"
if CHAT_PAGE:  # which uses our client as it is
    STATICFILES_DIRS = [("client", BASE_DIR / "clients" / "javascript")]
WHITENOISE_USE_FINDERS = True  # no collectstatic before the first start

TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Database -----------------------------------------------------------------------------------

# A process's threads that use the database: see core/database.py and accounts/hashing.py.
REQUEST_THREADS = 16
WRITER_THREADS = 4
FOLLOWER_THREADS = 2
PASSWORD_THREADS = 2
TRANSFER_THREADS = 2
OTHER_THREADS = 7  # heartbeats, health checks, cleaning up and its lock, mail, metrics

DATABASES: dict[str, Any] = {
    "default": read(env.dj_db_url, "DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE: none of 1,800 concurrent read-then-write transactions failed on a lock, against
    # 158 without it.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        **DATABASES["default"].get("OPTIONS", {}),
    }
    DATABASES["default"]["CONN_MAX_AGE"] = None
    DATABASES["default"]["TEST"] = {"NAME": f"{DATABASES['default']['NAME']}.test"}
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    DATABASES["default"]["ENGINE"] = "core.postgresql"
    # PostgreSQL may have been restarted since a connection was last used.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # Behind PgBouncer, a cursor that outlives its statement would be looked for in another session.
    DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
    DATABASES["default"]["OPTIONS"] = {
        # A host that no longer answers is noticed after some seconds, not after the quarter of an
        # hour of the operating system's defaults.
        "connect_timeout": 3,  # seconds
        "tcp_user_timeout": 5000,  # milliseconds
        "keepalives_idle": 5,  # seconds
        "keepalives_interval": 2,  # seconds
        "keepalives_count": 3,
        **DATABASES["default"].get("OPTIONS", {}),
        # By default a call waits 30 s while PostgreSQL is away, and the pool takes as long to
        # notice that it is back. A thread has one connection at a time, so no thread waits for
        # another's.
        "pool": {
            "min_size": 0,
            "max_size": sum(
                (
                    REQUEST_THREADS,
                    WRITER_THREADS,
                    FOLLOWER_THREADS,
                    PASSWORD_THREADS,
                    TRANSFER_THREADS,
                    OTHER_THREADS,
                )
            ),
            "max_idle": 2,  # one connection that nobody needed in this time is closed
            "timeout": 5,
            "reconnect_timeout": 2,
        },
    }
else:
    sys.exit("Cannot start, the setting DATABASE_URL is wrong: not sqlite:/// or postgres://")

# --- Cache and rate limits ----------------------------------------------------------------------

IN_PROCESS_CACHE = "django.core.cache.backends.locmem.LocMemCache"
CACHE_LOCATION: list[str] = read(env.list, "CACHE_LOCATION", [])
if CACHE_LOCATION and find_spec("pylibmc") is None:
    print("pylibmc is not installed: using the in-process cache, not Memcached", file=sys.stderr)
    CACHE_LOCATION = []
CACHES = {
    "default": {
        "BACKEND": read(
            env.str,
            "CACHE_BACKEND",
            "core.cache.MemcachedCache" if CACHE_LOCATION else IN_PROCESS_CACHE,
        ),
        "LOCATION": CACHE_LOCATION or "",
    }
}
RATELIMIT_ENABLE: bool = read(env.bool, "RATELIMIT_ENABLE", True)
RATE_LIMITS = {
    "chat": rate("chat", "10/m"),
    "read": rate("read", "120/m"),
    "write": rate("write", "60/m"),
    "login": rate("login", "10/m"),
    "login_account": rate("login_account", "5/m"),
    "register": rate("register", "10/h"),
    "password_reset": rate("password_reset", "5/h"),
    "export": rate("export", "10/h"),
    "import": rate("import", "10/h"),
}

# --- Accounts, sessions and cookies -------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["accounts.authentication.Backend"]
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": name}
    for name in (
        "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "django.contrib.auth.password_validation.MinimumLengthValidator",
        "django.contrib.auth.password_validation.CommonPasswordValidator",
        "django.contrib.auth.password_validation.NumericPasswordValidator",
        "accounts.passwords.MaximumLengthValidator",
    )
]
PASSWORD_RESET_TIMEOUT = 60 * 60
OWN_RESET_PAGE = f"http://127.0.0.1:{PORT}/#/reset/{{uid}}/{{token}}"
# In development the mail leads to our own page. In production only the operator knows where that
# is: the name by which this server was called may be somebody else's invention.
PASSWORD_RESET_URL: str = read(
    password_reset_url, "PASSWORD_RESET_URL", OWN_RESET_PAGE if DEBUG and CHAT_PAGE else ""
)
RECENT_LOGIN_SECONDS = 10 * 60

SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
COOKIE_SAMESITE: str = read(
    env.str, "COOKIE_SAMESITE", "Lax", validate=validate.OneOf(["Lax", "Strict", "None"])
)
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = COOKIE_SAMESITE

SECURE_SSL_REDIRECT: bool = read(env.bool, "SECURE_SSL_REDIRECT", not DEBUG)
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 60 * 60
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not DEBUG
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

CORS_URLS_REGEX = r"^/(?!admin/)"  # no other site's page may read the admin
CORS_ALLOWED_ORIGINS = FRONTEND_ORIGINS
CORS_ALLOW_CREDENTIALS = True
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key", "last-event-id"]
# With these OpenAI's client for JavaScript and the AI SDK's provider tell who they are.
CORS_ALLOW_HEADERS += ["user-agent", "openai-organization", "openai-project"]
CORS_ALLOW_HEADERS += [
    f"x-stainless-{name}"
    for name in (
        *("arch", "helper-method", "lang", "os", "package-version", "retry-count"),
        *("runtime", "runtime-version", "timeout"),
    )
]
CORS_EXPOSE_HEADERS = [
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Reply-Id",
    "Retry-After",
    "Thread-Id",
    "X-Request-ID",
]

# --- E-mail -------------------------------------------------------------------------------------

vars().update(read(email_settings, "EMAIL_URL", "console:"))
DEFAULT_FROM_EMAIL: str = read(env.str, "DEFAULT_FROM_EMAIL", "Llama Chatbot <noreply@localhost>")

# --- Chat ---------------------------------------------------------------------------------------

OLLAMA_HOST: str = read(http_urls, "OLLAMA_HOST", "http://127.0.0.1:11434")
OLLAMA_MODEL: str = read(env.str, "OLLAMA_MODEL", "llama3.2", validate=validate.Length(min=1))
OLLAMA_PARALLEL: int = read(env.int, "OLLAMA_PARALLEL", 0, validate=validate.Range(min=0))
OLLAMA_QUEUE_MAX: int = read(env.int, "OLLAMA_QUEUE_MAX", 1000, validate=validate.Range(min=1))
OLLAMA_CONNECT_TIMEOUT_SECONDS: float = read(
    env.float, "OLLAMA_CONNECT_TIMEOUT_SECONDS", 3.0, validate=POSITIVE
)
OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS: float = read(
    env.float, "OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS", 120.0, validate=POSITIVE
)
OLLAMA_NEXT_TOKEN_TIMEOUT_SECONDS: float = read(
    env.float, "OLLAMA_NEXT_TOKEN_TIMEOUT_SECONDS", 30.0, validate=POSITIVE
)

CHAT_SYSTEM_PROMPT: str = read(
    env.str,
    "CHAT_SYSTEM_PROMPT",
    "You are Llama Chat, a friendly and knowledgeable assistant. Answer clearly and to the point, "
    "in the language of the question, and say so when you do not know.",
)
CHAT_CONTEXT_WINDOW_MAX: int = read(
    env.int, "CHAT_CONTEXT_WINDOW_MAX", 8192, validate=validate.Range(min=512)
)
CHAT_REPLY_TOKENS_MAX: int = read(
    env.int, "CHAT_REPLY_TOKENS_MAX", 2048, validate=validate.Range(min=1)
)
CHAT_TITLES: str = read(
    env.str, "CHAT_TITLES", "first-words", validate=validate.OneOf(["first-words", "model"])
)
CHAT_DAILY_TOKENS: int = read(env.int, "CHAT_DAILY_TOKENS", 0, validate=validate.Range(min=0))
CHAT_KEEP_DAYS: int = read(env.int, "CHAT_KEEP_DAYS", 0, validate=validate.Range(min=0, max=36_500))
CHAT_ABANDONED_REPLY_SECONDS: float | None = read(
    seconds_or_none, "CHAT_ABANDONED_REPLY_SECONDS", 30.0
)
CHAT_CARRY_ON: bool = read(env.bool, "CHAT_CARRY_ON", True)
CHAT_SHUTDOWN_GRACE_SECONDS: float | None = read(
    seconds_or_none, "CHAT_SHUTDOWN_GRACE_SECONDS", None
)

# --- Metrics ------------------------------------------------------------------------------------

METRICS_TOKEN: str = read(env.str, "METRICS_TOKEN", "")
METRICS_DIRECTORY: str = read(env.str, "METRICS_DIRECTORY", "")

# --- Logging ------------------------------------------------------------------------------------

LOG_LEVEL: int = read(env.log_level, "LOG_LEVEL", logging.INFO)
LOG_FORMAT: str = read(env.str, "LOG_FORMAT", "text", validate=validate.OneOf(["text", "json"]))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {
            "()": "core.logs.IndentingFormatter",
            "format": "{asctime} {levelname} {name} {request_id}: {message}",
            "style": "{",
        },
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": "{levelname}{name}{request_id}{message}",
            "style": "{",
            "rename_fields": {"levelname": "level", "name": "logger"},
            "timestamp": "time",
            # Django adds the request to its lines, with its query string; uvicorn a second message.
            "reserved_attrs": [*RESERVED_ATTRS, "request", "color_message"],
        },
        "bare": {"format": "{message}", "style": "{"},
    },
    "filters": {"request_id": {"()": "core.logs.RequestIdFilter"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["request_id"],
        },
        "audit": {"class": "logging.StreamHandler", "formatter": "bare"},
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Django's own handlers would write each line twice, or only to the console under DEBUG.
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "audit": {"handlers": ["audit"], "level": "INFO", "propagate": False},
        # Below INFO is every statement with its parameters: messages, hashes and keys of sessions.
        "django.db.backends": {"level": max(LOG_LEVEL, logging.INFO)},
        # INFO is a line for every call to Ollama, and one for every use of a connection.
        "httpx": {"level": max(LOG_LEVEL, logging.WARNING)},
        "psycopg.pool": {"level": max(LOG_LEVEL, logging.WARNING)},
    },
}
