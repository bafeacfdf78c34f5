"""Calls that meet: made at the same moment, or while something else happens."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
from django.db import transaction


def at_once(*calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Make calls at the same moment; return the answers, the lowest status first."""
    barrier = Barrier(len(calls))

    def call(it: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait()
        return it()

    with ThreadPoolExecutor(len(calls)) as threads:
        return sorted(threads.map(call, calls), key=lambda answer: answer.status_code)


def meanwhile(call: Callable[[], httpx.Response], happens: Callable[[], object]) -> httpx.Response:
    """Make a call that reads before something else happens, and writes after it."""
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():  # nobody sees what it does, or writes the same, before its end
            happens()
            answer = thread.submit(call)
            time.sleep(1)
        return answer.result()
