"""What a browser calls itself, in words: "Firefox on Linux"."""

import re

MAX_LENGTH = 60  # characters of what is none of these

# The first that is found: all but Firefox also say that they are Safari, most that they are Chrome.
PROGRAMS = (
    (r"\bEdg(?:e|A|iOS)?/", "Edge"),
    (r"\bOPR/|\bOpera\b", "Opera"),
    (r"\bSamsungBrowser/", "Samsung Internet"),
    (r"\bVivaldi/", "Vivaldi"),
    (r"\bFirefox/|\bFxiOS/", "Firefox"),
    (r"\bHeadlessChrome/|\bChrome/|\bCriOS/|\bChromium/", "Chrome"),
    (r"\bVersion/.*\bSafari/", "Safari"),
)
SYSTEMS = (
    (r"\biPhone\b", "iPhone"),
    (r"\biPad\b", "iPad"),
    (r"\bAndroid\b", "Android"),
    (r"\bCrOS\b", "ChromeOS"),
    (r"\bWindows\b", "Windows"),
    (r"\bMac OS X\b|\bMacintosh\b", "macOS"),
    (r"\bLinux\b|\bX11\b", "Linux"),
)


def in_words(user_agent: str | None) -> str:
    """Return the program and its system, or what it calls itself where that is another."""
    text = user_agent or ""
    program = _first(PROGRAMS, text)
    if program is None:
        return text[:MAX_LENGTH] or "an unknown program"
    system = _first(SYSTEMS, text)
    return f"{program} on {system}" if system else program


def _first(names: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for pattern, name in names if re.search(pattern, text)), None)
