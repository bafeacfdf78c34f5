"""Which process writes a reply: each has a name, by which others can see whether it lives."""

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path


def host() -> str:
    """Return a name of what this process shares its process ids with: a machine, or a container."""
    name = socket.gethostname()
    with suppress(OSError):  # there is no /proc on macOS
        name += Path("/proc/self/ns/pid").readlink().name.removeprefix("pid:")
    return name


HOST = host()
NONCE = secrets.token_hex(4)  # a container's process has the same number after its restart
NOBODY = ""  # owns what its process has handed over


def this_process() -> str:
    """Return the name under which this process owns replies."""
    return f"{HOST}/{os.getpid()}/{NONCE}"


def may_be_alive(owner: str) -> bool:
    """Return whether the process of that name may exist: true of one on another machine."""
    if owner == NOBODY:
        return False
    host, pid, nonce = owner.rsplit("/", 2)
    if host != HOST:
        return True
    if int(pid) == os.getpid():
        return nonce == NONCE
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
