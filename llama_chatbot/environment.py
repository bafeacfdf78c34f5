"""How settings.py reads the environment: each parser refuses what cannot be used, and says why."""

import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from environs import Env, EnvError, validate

env = Env()
POSITIVE = validate.Range(min=0, min_inclusive=False)


def read(parse: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
    """Return the parsed value of a variable; exit with one line where it is invalid."""
    try:
        return parse(name, *args, **kwargs)
    except EnvError as error:
        reason = str(error).removeprefix(f'Environment variable "{name}" invalid: ').strip("[]'\"")
        sys.exit(f"Cannot start, the setting {name} is wrong: {reason}")
    except ValueError:  # its text may contain the value, which may be a secret
        sys.exit(f"Cannot start, the setting {name} is wrong: it cannot be parsed")


def rate(name: str, default: str) -> str:
    """Read a rate such as `10/m`: a number of calls per second, minute, hour or day."""
    shape = validate.Regexp(r"^\d+/([1-9]\d*)?[smhd]$", error="it is not a rate such as 10/m")
    return str(read(env.str, f"RATE_LIMIT_{name.upper()}", default, validate=shape))


def origin(value: str) -> str:
    """Return `value` if it is an origin as browsers send it: scheme, host and optional port."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or value != f"{parts.scheme}://{parts.netloc}".lower():
        raise EnvError(f"{value!r} is not an origin such as https://chat.example.com")
    return value


def origins(name: str) -> list[str]:
    """Read a comma-separated list of origins."""
    items: list[str] = env.list(name, [])
    return [origin(item.strip()) for item in items if item.strip()]


def http_urls(name: str, default: str) -> str:
    """Read the addresses of HTTP servers, comma-separated, each once."""
    values = [value.strip() for value in env.str(name, default).split(",")]
    for value in values:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise EnvError(
                "it is not an address such as http://127.0.0.1:11434, or several of them"
            )
    if len(set(values)) < len(values):
        raise EnvError("it names an address twice")
    return ",".join(values)


def email_settings(name: str, default: str) -> dict[str, Any]:
    """Read Django's e-mail settings from one URL."""
    parsed: dict[str, Any] = env.dj_email_url(name, default)
    if "EMAIL_BACKEND" not in parsed:  # the scheme is unknown
        raise EnvError("it is not a URL such as submission://user:password@mail.example.com")
    seconds = parsed["EMAIL_TIMEOUT"] or 10  # Django's default is to wait for ever
    return {**parsed, "EMAIL_TIMEOUT": seconds}


def password_reset_url(name: str, default: str) -> str:
    """Read the URL of the front end's password page, which contains `{uid}` and `{token}`."""
    value = env.str(name, default)
    parts = {part: f"<{part}>" for part in ("uid", "token")}
    try:
        link = value.format_map(parts)
        is_usable = not value or all(text in link for text in parts.values())
    except (KeyError, IndexError, AttributeError):
        is_usable = False
    if not is_usable:
        raise EnvError("it is not an address that contains {uid} and {token}")
    return value


def seconds_or_none(name: str, default: float | None) -> float | None:
    """Read a number of seconds, 0 or more, as a float; None if the variable is set but empty."""
    if env.str(name, "" if default is None else str(default)).strip() == "":
        return None
    return float(env.float(name, default or 0.0, validate=validate.Range(min=0)))
