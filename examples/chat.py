"""Talk to the server from a terminal, with nothing but Python.

    LLAMA_TOKEN=llama_1f0c… python examples/chat.py "Why is the sky blue?"

Create a token with POST /auth/tokens/ (see README.md). Each run starts a thread.
"""

import json
import os
import sys
from http.client import HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

SERVER = os.environ.get("LLAMA_SERVER", "http://127.0.0.1:8000")
TOKEN = os.environ.get("LLAMA_TOKEN") or sys.exit("Set LLAMA_TOKEN to one of your tokens.")


def post(path: str, body: dict[str, object] | None = None) -> HTTPResponse:
    """Call the server; exit with its error message if it refuses."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body else b""
    try:
        response: HTTPResponse = urlopen(Request(SERVER + path, data, headers))  # noqa: S310  # nosec B310
    except HTTPError as error:
        sys.exit(json.load(error)["error"])
    except URLError as error:
        sys.exit(f"{SERVER} cannot be reached: {error.reason}")
    return response


thread_id = json.load(post("/chat/threads/new/"))["thread_id"]
message = " ".join(sys.argv[1:]) or "Hello!"
with post(f"/chat/streaming-response/{thread_id}/", {"message": message}) as reply:
    while piece := reply.read1():
        sys.stdout.buffer.write(piece)
        sys.stdout.flush()
print()
