"""A real browser's `EventSource` reads a reply, loses its connection, goes on and then stops."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from testing.people import PASSWORD, Caller
from testing.processes import StartServer, free_port
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import path_of, sending
from testing.waiting import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKENS = ["one \U0001f999\n\n", "two ", "thr\u2028ee ", "four"]

# The page is another origin of the same site, so the cookie goes along. It logs in and follows the
# reply as a front end does after a reload.
PAGE = """<!doctype html><script>
const api = "%(api)s";
const seen = {opens: 0, starts: 0, text: "", ends: [], closed: false};
const report = () => fetch("/report", {method: "POST", body: JSON.stringify(seen)});
const post = (path, body) => fetch(api + path, {
  method: "POST", credentials: "include",
  headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
});
(async () => {
  await post("/auth/login/", {username: "ann", password: "%(password)s"});
  const source = new EventSource(api + "%(path)s", {withCredentials: true});
  source.onopen = () => { seen.opens += 1; report(); };
  source.addEventListener("start", () => { seen.starts += 1; });
  source.addEventListener("delta", (event) => {
    seen.text += JSON.parse(event.data).text;
    report();
  });
  source.addEventListener("end", (event) => {
    seen.ends.push(JSON.parse(event.data).status);
    report();
  });
  source.addEventListener("error", () => {
    seen.closed = source.readyState === EventSource.CLOSED;
    report();
  });
})();
</script>"""


class Page:
    """A page of a front end, and what it reports of itself."""

    def __init__(self, port: int) -> None:
        self.url = f"http://localhost:{port}"
        self.html = ""
        self.seen: dict[str, object] = {}
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(page.html.encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                page.seen = json.loads(body)
                self.answer(b"")

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page(free_port())
    thread = threading.Thread(target=page.server.serve_forever, daemon=True)
    thread.start()
    yield page
    page.server.shutdown()
    page.server.server_close()


@contextmanager
def browsing(url: str, directory: Path) -> Iterator[None]:
    """Open a page in a browser of its own."""
    assert CHROMIUM
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync"
    flags += " disable-background-networking disable-component-update disable-dev-shm-usage"
    command = [
        CHROMIUM,
        *(f"--{flag}" for flag in flags.split()),
        f"--user-data-dir={directory / 'profile'}",
    ]
    with (directory / "browser.log").open("wb") as log:
        browser = subprocess.Popen(
            [*command, "--remote-debugging-port=0", url], stdout=log, stderr=log
        )
        try:
            yield
        finally:
            browser.terminate()
            browser.wait(10)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_a_browser_follows_a_reply_through_a_restart_and_stops_at_its_end(
    ann: Caller, start_server: StartServer, ollama: ScriptedOllama, page: Page, tmp_path: Path
) -> None:
    reader = start_server(
        DEBUG="true",  # for cookies over plain HTTP
        FRONTEND_ORIGINS=page.url,
        CHAT_SHUTDOWN_GRACE_SECONDS="0",
    )
    ollama.script = Script(TOKENS, hold_after=2)
    thread = ann.thread()
    page.html = PAGE % {
        "api": reader.url.replace("127.0.0.1", "localhost"),
        "password": PASSWORD,
        "path": path_of(thread),
    }
    first_half = "".join(TOKENS[:2])
    with sending(ann, thread) as reading:
        reading.until("two")
        with browsing(page.url, tmp_path):
            wait_until(lambda: page.seen.get("text") == first_half, 20, lambda: str(page.seen))
            reader.terminate(10)  # as in a deployment; the browser comes back by itself
            reader.start()
            wait_until(lambda: page.seen.get("opens") == 2, 20, lambda: str(page.seen))
            ollama.release()
            wait_until(lambda: page.seen.get("closed"), 20, lambda: str(page.seen))
    assert page.seen == {
        "opens": 2,
        "starts": 2,
        "text": "".join(TOKENS),
        "ends": ["complete"],
        "closed": True,
    }
    assert reply_of(thread).content == "".join(TOKENS)
    assert len(ollama.chats) == 1
