"""The JavaScript client in Node: a module with it is run, and what it says is read."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testing import javascript
from testing.people import Caller, token_of

PACKAGE = javascript.ROOT / "clients" / "javascript"

AWKWARD = ["one \U0001f999\n\n", "two\u2028", "three\u0085 ", "four"]

IMPORT = f"""
import {{ ChatError, Client }} from {json.dumps(str(PACKAGE / "client.js"))};
const say = (value) => console.log(JSON.stringify(value));
"""
CLIENT = """
const client = new Client({ server: process.env.URL, token: process.env.TOKEN });
"""
BEGINNING = IMPORT + CLIENT


def environment(caller: Caller) -> dict[str, str]:
    return {"URL": str(caller.base_url).rstrip("/"), "TOKEN": token_of(caller)}


def run(caller: Caller, code: str) -> list[Any]:
    """Run a module with a client that has a token in Node; return what it says."""
    return in_node(CLIENT + code, **environment(caller))


def in_node(code: str, **variables: str) -> list[Any]:
    """Run a module in Node that makes its own client; return what it says."""
    module = ("--input-type=module", "-e", IMPORT + code)
    wrote = javascript.run("node", *module, cwd=javascript.HERE, **variables)
    return [json.loads(line) for line in wrote.split("\n") if line]


@contextmanager
def running(caller: Caller, code: str) -> Iterator[list[Any]]:
    """Run a module with the client in Node; what it says is in the list, all of it at the end."""
    said: list[Any] = []
    process = subprocess.Popen(
        ["node", "--input-type=module", "-e", BEGINNING + code],
        env={**javascript.environment(), **environment(caller)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    try:
        yield said
        said.extend(json.loads(line) for line in process.stdout)
        assert process.wait(20) == 0, process.stderr.read()
    finally:
        process.kill()
        process.communicate()
