"""To which host a call goes: to the same one for all calls of a conversation, if it can be.

The host that read a conversation before has it in its prompt cache.
"""

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from django.conf import settings

LOAD_FACTOR = 1.25  # how many times the mean number of calls a host may have


def hosts() -> Sequence[str]:
    """Return the address of each Ollama."""
    return [host.strip() for host in settings.OLLAMA_HOST.split(",")]


def without_password(host: str) -> str:
    """Return the address of a host as it may be shown."""
    return host.rpartition("@")[2]


def place(
    conversation: str, candidates: Sequence[str], calls: Mapping[str, int], limit: int
) -> str | None:
    """Return the host to which a conversation's call goes, None where all are full.

    `calls` is how many each has now, and `limit` how many it may have, 0 for any number. Each
    conversation has an order of the hosts of its own, which stays when others come or go
    (rendezvous hashing); it takes the first host that would not have far more than its share.
    """
    if not candidates:
        return None
    total = sum(calls.get(host, 0) for host in candidates) + 1
    most = math.ceil(LOAD_FACTOR * total / len(candidates))
    most = min(most, limit) if limit else most
    free = [host for host in candidates if calls.get(host, 0) < most]
    return max(free, key=lambda host: _weight(conversation, host), default=None)


def _weight(conversation: str, host: str) -> bytes:
    return blake2b(f"{host} {conversation}".encode(), digest_size=8).digest()
