"""Which process writes a reply: each has a name, by which others can see whether it lives."""

import os
import secrets
import socket

HOST = socket.gethostname()
NONCE = secrets.token_hex(4)  # a container's process has the same number after its restart


def this_process() -> str:
    """Return the name under which this process owns replies."""
    return f"{HOST}/{os.getpid()}/{NONCE}"


def may_be_alive(owner: str) -> bool:
    """Return whether the process of that name may exist: true of one on another machine."""
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
