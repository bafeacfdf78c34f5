"""Plain calls: the rate of `GET /chat/threads/`, divided by that of a bare Django async view.

Both run under the same uvicorn and take turns in short rounds. The load generator speaks HTTP over
bare sockets: a client library would be slower than the view, and would measure itself.
"""

import asyncio
import time
from typing import cast

from benchmarks.process import cpu_seconds
from benchmarks.result import Result, median, note, run_alone
from benchmarks.world import create_people, run, world

WHAT = "plain calls"
LIMIT = 0.25
GOAL = f"at least {LIMIT}"

CONNECTIONS = 16
LAST_CHUNK = b"0\r\n\r\n"
THREADS = 20
APPLICATIONS = ("llama_chatbot.asgi:application", "benchmarks.bare_django:application")


def measure(quick: bool = False) -> Result:
    """Call both in turn, and compare their rates."""
    seconds, rounds = (0.5, 1) if quick else (4.0, 5)
    rates: list[list[float]] = [[], []]
    costs: list[list[float]] = [[], []]
    with world(applications=APPLICATIONS) as here:
        (person,) = create_people(1, threads=THREADS)
        requests = [
            (request("/chat/threads/", person.headers["Cookie"]), THREADS),
            (request("/health/live/"), 0),
        ]
        for server, wanted in zip(here.servers, requests, strict=True):
            run(calls(server.port, *wanted, seconds / 4))  # warm up
        for _ in range(rounds):
            for index, server in enumerate(here.servers):
                before = cpu_seconds(server.pid)
                number = run(calls(server.port, *requests[index], seconds))
                rates[index].append(number / seconds)
                costs[index].append((cpu_seconds(server.pid) - before) / number * 1_000_000)
            note(f"ours {rates[0][-1]:.0f}, bare {rates[1][-1]:.0f} requests a second")

    ratio = median([ours / bare for ours, bare in zip(*rates, strict=True)])
    by_cpu = median(costs[1]) / median(costs[0])
    return Result(
        f"{ratio:.2f} ({median(rates[0]):.0f} over {median(rates[1]):.0f} a second; "
        f"by the CPU a call, {median(costs[0]):.0f} and {median(costs[1]):.0f} µs, {by_cpu:.2f})",
        ratio >= LIMIT,
    )


def request(path: str, cookie: str = "") -> bytes:
    """Return the bytes of a request."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: application/json"]
    lines += [f"Cookie: {cookie}"] if cookie else []
    return "\r\n".join([*lines, "", ""]).encode()


class Caller(asyncio.Protocol):
    """Sends the same request again whenever its answer is complete."""

    def __init__(self, request: bytes, threads: int) -> None:
        self.request = request
        self.threads = threads
        self.answers = 0
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Count an answer when it is complete, and send the next request."""
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self.fail(head.split(b"\r\n")[0].decode())
            return
        _, has_length, length = head.lower().partition(b"content-length: ")
        if len(body) == int(length.split(b"\r\n")[0]) if has_length else body.endswith(LAST_CHUNK):
            if body.count(b'"updated_at"') != self.threads:
                self.fail(f"an answer does not have {self.threads} threads")
                return
            self.answers += 1
            self.buffer = b""
            self.transport.write(self.request)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail: there will be no more answers."""
        self.fail(f"the connection was lost: {error}")

    def fail(self, problem: str) -> None:
        """End the round."""
        if not self.lost.done():
            self.lost.set_result(problem)


async def calls(port: int, wanted: bytes, threads: int, seconds: float) -> int:
    """Return how many answers came in `seconds`.

    Raises `RuntimeError` for a wrong answer: each must list `threads` threads.
    """
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(CONNECTIONS):
        _, caller = await loop.create_connection(lambda: Caller(wanted, threads), "127.0.0.1", port)
        callers.append(caller)
    before = sum(caller.answers for caller in callers)
    began = time.perf_counter()
    failed, _ = await asyncio.wait(
        [caller.lost for caller in callers], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
    )
    elapsed = time.perf_counter() - began
    number = sum(caller.answers for caller in callers) - before
    for caller in callers:
        caller.transport.abort()
    if failed:
        raise RuntimeError(f"calls failed: {failed.pop().result()}")
    return round(number * seconds / elapsed)


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)
