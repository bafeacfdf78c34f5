"""Talk to the server from a terminal, with nothing but Python.

    LLAMA_TOKEN=llama_1f0c… python examples/chat.py "Why is the sky blue?"

Make a token with POST /auth/tokens/ (see docs/scripts.md). Each run begins a thread. If the server
dies or restarts in mid-answer, the answer goes on where it was.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

SERVER = os.environ.get("LLAMA_SERVER", "http://127.0.0.1:8000")
TOKEN = os.environ.get("LLAMA_TOKEN") or sys.exit("Set LLAMA_TOKEN to a token of yours.")
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0  # seconds before the server is called again
MOST_TRIES = 10  # without anything new in between

Event = dict[str, Any]


def events_of(path: str, body: Event | None, key: str) -> Iterator[Event]:
    """Call the server, and yield what its stream says."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/x-ndjson"}
    if body:  # a send that is repeated with the same key is answered once
        headers |= {"Content-Type": "application/json", "Idempotency-Key": key}
    data = json.dumps(body).encode() if body else None
    with urlopen(Request(SERVER + path, data, headers), timeout=60) as stream:  # noqa: S310  # nosec B310
        for line in stream:
            if line.strip():  # an empty one only keeps the connection open
                yield json.loads(line)


def reply_to(message: str) -> Iterator[Event]:
    """Send a message, and yield what happens to its reply, over as many connections as it takes."""
    path, body, key = "/chat/streaming-response/new/", {"message": message}, str(uuid4())
    thread_id = offset = tries = 0
    while tries < MOST_TRIES:
        try:
            for event in events_of(path, None if thread_id else body, key):
                yield event
                tries = 0
                if event["type"] in ("end", "error"):
                    return
                if event["type"] in ("delta", "rewind"):
                    offset = event["offset"]
                thread_id = event.get("thread_id", thread_id)
                path = f"/chat/streaming-response/{thread_id}/?offset={offset}"
        except HTTPError as error:
            if error.code != 503:
                sys.exit(json.load(error)["error"])
        except (OSError, HTTPException):
            pass  # the connection was cut, or there is no server just now
        time.sleep(min(FIRST_PAUSE * 2**tries, LONGEST_PAUSE))
        tries += 1
    sys.exit(f"{SERVER} cannot be reached.")


def main(message: str) -> None:
    """Write the reply to a message: piece by piece to a terminal, else at its end."""
    text, is_shown = "", sys.stdout.isatty()
    for event in reply_to(message):
        if event["type"] == "delta":
            text += event["text"]
            print(event["text"] if is_shown else "", end="", flush=True)
        elif event["type"] == "rewind":  # what is beyond was lost with the process that wrote it
            text = text[: event["offset"]]
            print(f"\n\n{text}" if is_shown else "", end="", flush=True)
        elif event["type"] == "error":
            sys.exit(event["error"])
    print("" if is_shown else text)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "Hello!")
