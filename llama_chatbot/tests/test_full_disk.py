"""SQLite on a disk that is full: what reads goes on, what writes is 503, and nothing is a 500."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testing.answers import error_of
from testing.environment import ENVIRONMENT
from testing.people import PASSWORD
from testing.processes import ROOT, Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until

ACCOUNT = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
LOGIN = {"username": "ann", "password": PASSWORD}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)  # the server has files open on it


@pytest.fixture
def server(disk: Path, start_server: StartServer) -> Server:
    url = f"sqlite:///{disk}/db.sqlite3"
    environment = {**ENVIRONMENT, "DATABASE_URL": url}
    migrate = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(migrate, check=True, cwd=ROOT, env=environment)
    return start_server(DATABASE_URL=url, DEBUG="true")  # for cookies over plain HTTP


@pytest.fixture
def ann(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as ann:
        assert ann.post("/auth/register/", json=ACCOUNT).status_code == 201
        assert ann.post("/auth/login/", json=LOGIN).status_code == 200
        yield ann


def fill(disk: Path) -> Path:
    """Fill the disk to its last byte; deleting the returned file frees it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return filler
    raise AssertionError("the disk has no end")


def write_until_refused(ann: httpx.Client) -> None:
    """Use up what room the database's own files have left."""
    wait_until(
        lambda: ann.post("/chat/threads/new/", json={"title": "x" * 100}).status_code != 201, 20
    )


def test_what_writes_is_503_and_what_reads_goes_on(
    ann: httpx.Client, disk: Path, server: Server
) -> None:
    thread = ann.post("/chat/threads/new/").json()["thread_id"]
    token = ann.post("/auth/tokens/", json={"name": "script", "days": 1}).json()["token"]
    ann.post(f"/chat/response/{thread}/", json={"message": "Hello"})
    filler = fill(disk)
    write_until_refused(ann)

    for method, path, body in [
        ("POST", "/chat/threads/new/", {"title": "x" * 100}),
        ("POST", f"/chat/response/{thread}/", {"message": "x" * 2000}),
        ("POST", f"/chat/streaming-response/{thread}/", {"message": "x" * 2000}),
        ("PATCH", f"/chat/threads/{thread}/update-title/", {"title": "x"}),
        ("DELETE", f"/chat/threads/{thread}/delete/", None),
        ("POST", "/auth/register/", {**ACCOUNT, "username": "bob", "email": "bob@example.com"}),
        ("POST", "/auth/login/", LOGIN),
        ("POST", "/admin/login/", None),
    ]:
        answer = ann.request(method, path, json=body)
        if path == "/admin/login/":
            assert answer.status_code < 500
        else:
            error_of(answer, 503, "unavailable")
    for path in ("/chat/threads/", f"/chat/threads/{thread}/messages/", "/auth/status/"):
        assert ann.get(path).status_code == 200
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{server.url}/chat/threads/", headers=headers).status_code == 200
    ready = ann.get("/health/ready/")
    assert (ready.status_code, ready.json()["database"]) == (503, "its disk is full")

    filler.unlink()
    wait_until(lambda: ann.get("/health/ready/").status_code == 200)
    answer = ann.post(f"/chat/response/{thread}/", json={"message": "x" * 2000})
    assert answer.status_code == 200


def test_a_reply_that_ends_on_a_full_disk_is_stored_once_there_is_room(
    ann: httpx.Client, disk: Path, ollama: ScriptedOllama
) -> None:
    thread = ann.post("/chat/threads/new/").json()["thread_id"]
    ollama.script = Script(["Hel", "lo"], hold_after=1)
    url = f"/chat/streaming-response/{thread}/"
    with ann.stream("POST", url, json={"message": "Hi"}) as reply:
        pieces = reply.iter_text()
        assert next(pieces) == "Hel"
        filler = fill(disk)
        write_until_refused(ann)
        ollama.release()
        wait_until(lambda: ollama.open == 0)
        filler.unlink()
        assert "".join(pieces) == "lo"

    messages = ann.get(f"/chat/threads/{thread}/messages/").json()["messages"]
    assert (messages[1]["content"], messages[1]["status"]) == ("Hello", "complete")
