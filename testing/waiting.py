"""Waiting for a condition, in the place of sleeping."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object],
    timeout: float = 5.0,
    message: str | Callable[[], str] = "the condition never held",
) -> None:
    """Poll every 10 ms until the condition holds; AssertionError after `timeout` seconds.

    A message that should tell the last state is a function. It blocks: a coroutine calls
    ``await asyncio.to_thread(wait_until, ...)``.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            text = message() if callable(message) else message
            raise AssertionError(f"after {timeout:g} s: {text}")
        time.sleep(0.01)
