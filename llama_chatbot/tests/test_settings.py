"""The settings: a wrong one stops the start."""

import subprocess
import sys

import pytest

from testing.environment import ENVIRONMENT
from testing.processes import ROOT

GOOD = {"LLAMA_CHATBOT_ENV_FILE": "", "SECRET_KEY": ENVIRONMENT["SECRET_KEY"]}
BAD = [
    ("DEBUG", "perhaps"),
    ("SECRET_KEY", ""),
    ("FRONTEND_ORIGINS", "app.example.com"),
    ("FRONTEND_ORIGINS", "https://app.example.com/"),
    ("FRONTEND_ORIGINS", "https://app.example.com,*"),
    ("FRONTEND_ORIGINS", "https://App.example.com"),
    ("FRONTEND_ORIGINS", "ftp://app.example.com"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "http"),
    ("DATABASE_URL", "mysql://user@host/name"),
    ("DATABASE_URL", "nonsense"),
    ("SECURE_SSL_REDIRECT", "maybe"),
    ("COOKIE_SAMESITE", "lax"),
    ("RATELIMIT_ENABLE", "2"),
    ("RATE_LIMIT_CHAT", "10"),
    ("RATE_LIMIT_READ", "10/x"),
    ("RATE_LIMIT_WRITE", "-1/m"),
    ("RATE_LIMIT_LOGIN", "m/10"),
    ("RATE_LIMIT_LOGIN_ACCOUNT", ""),
    ("RATE_LIMIT_REGISTER", "10/0h"),
    ("RATE_LIMIT_PASSWORD_RESET", "ten/h"),
    ("RATE_LIMIT_EXPORT", "1/w"),
    ("RATE_LIMIT_IMPORT", "1.5/h"),
    ("EMAIL_URL", "nonsense"),
    ("PASSWORD_RESET_URL", "https://app.example.com/"),
    ("OLLAMA_HOST", "ftp://ollama"),
    ("OLLAMA_HOST", "http://"),
    ("OLLAMA_HOST", "http://ollama:port"),
    ("OLLAMA_HOST", "http://gpu-1:11434,"),
    ("OLLAMA_HOST", "http://gpu-1:11434, http://gpu-1:11434"),
    ("OLLAMA_MODEL", ""),
    ("OLLAMA_PARALLEL", "-1"),
    ("OLLAMA_PARALLEL", "two"),
    ("OLLAMA_QUEUE_MAX", "0"),
    ("OLLAMA_CONNECT_TIMEOUT_SECONDS", "0"),
    ("OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS", "-1"),
    ("OLLAMA_NEXT_TOKEN_TIMEOUT_SECONDS", "soon"),
    ("CHAT_CONTEXT_WINDOW_MAX", "511"),
    ("CHAT_CONTEXT_WINDOW_MAX", "8k"),
    ("CHAT_TITLES", "none"),
    ("CHAT_DAILY_TOKENS", "-1"),
    ("CHAT_DAILY_TOKENS", "many"),
    ("CHAT_KEEP_DAYS", "-1"),
    ("CHAT_KEEP_DAYS", "36501"),
    ("CHAT_ABANDONED_REPLY_SECONDS", "-1"),
    ("CHAT_ABANDONED_REPLY_SECONDS", "never"),
    ("CHAT_SHUTDOWN_GRACE_SECONDS", "-1"),
    ("LOG_LEVEL", "LOUD"),
    ("LOG_FORMAT", "xml"),
]

# Reads all of a list of settings in one process, since most of the time goes into starting one.
TRY_ALL = """
import os, sys
for name, value in {bad!r}:
    kept = dict(os.environ)
    os.environ[name] = value
    sys.modules.pop("llama_chatbot.settings", None)
    try:
        import llama_chatbot.settings
        print(f"{{name}}={{value}}\\tstarted")
    except SystemExit as stop:
        print(f"{{name}}={{value}}\\t{{stop}}")
    os.environ.clear()
    os.environ.update(kept)
"""


def run(code: str, **settings: str | None) -> "subprocess.CompletedProcess[str]":
    env = {**GOOD, **settings}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={name: value for name, value in env.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_value_that_cannot_be_used_stops_the_start_with_its_name() -> None:
    done = run(TRY_ALL.format(bad=BAD))

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(BAD), done.stdout
    for (name, value), line in zip(BAD, lines, strict=True):
        reason = line.removeprefix(f"{name}={value}\t")
        assert reason.startswith(f"Cannot start, the setting {name} is "), line


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "http"), ("DATABASE_URL", "mysql://user:pa55@host/name")]
)
def test_a_refusal_is_one_line_without_a_traceback_or_the_value(name: str, value: str) -> None:
    done = run("import llama_chatbot.settings", **{name: value})

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert name in done.stderr
    assert "pa55" not in done.stderr


def test_without_a_secret_key_only_debugging_starts() -> None:
    code = "import llama_chatbot.settings"

    without = run(code, SECRET_KEY=None)
    debugging = run(code, SECRET_KEY=None, DEBUG="true")

    assert "SECRET_KEY is missing" in without.stderr
    assert debugging.returncode == 0
