"""Browsers in words."""

import pytest

from accounts.user_agents import in_words

M = "Mozilla/5.0"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0"
WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (
            f"{M} (X11; Linux; rv:127.0) Gecko/20100101 Firefox/127.0",
            "Firefox on Linux",
        ),
        (
            f"{M} (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0",
            "Firefox on Android",
        ),
        (
            f"{M} (Windows NT 10.0) {CHROME} Safari/537.36",
            "Chrome on Windows",
        ),
        (
            f"{M} (Windows NT 10.0) {CHROME} Safari/537.36 Edg/126.0.0.0",
            "Edge on Windows",
        ),
        (
            f"{M} (X11; CrOS) {CHROME} Safari/537.36",
            "Chrome on ChromeOS",
        ),
        (
            f"{M} (Linux; Android 10; K) {CHROME} Mobile Safari/537.36",
            "Chrome on Android",
        ),
        (
            f"{M} (Macintosh; Intel Mac OS X) {WEBKIT} Version/17.5 Safari/605",
            "Safari on macOS",
        ),
        (
            f"{M} (iPhone; CPU iPhone OS 17 like Mac OS X) {WEBKIT} Version/17.5 "
            "Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            f"{M} (iPad; CPU OS 17_5 like Mac OS X) {WEBKIT} CriOS/126.0 Mobile/15E148 "
            "Safari/604.1",
            "Chrome on iPad",
        ),
        ("python-httpx/0.27.0", "python-httpx/0.27.0"),
        ("x" * 300, "x" * 60),
        ("", "an unknown program"),
        (None, "an unknown program"),
    ],
)
def test_a_browser_has_a_name_and_its_system(user_agent: str | None, words: str) -> None:
    assert in_words(user_agent) == words
