"""Proxies in front of a server, which answer with a page of their own while it is away."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from testing import javascript
from testing.processes import Server, free_port
from testing.processes.nginx import PROGRAM
from testing.waiting import wait_until

NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {server};
            proxy_buffering off;
        }}
    }}
}}
"""
VITE = 'export default {{ server: {{ proxy: {{ "/chat": "{server}" }} }} }};'


class Gateway:
    """One that runs; `refusals` counts what it has answered by itself."""

    def __init__(self, port: int, log: Path, refusal: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log, self._refusal = log, refusal

    def refusals(self) -> int:
        """Return how often it has not reached the server."""
        return self._log.read_text().count(self._refusal)


@contextmanager
def nginx(directory: Path, server: Server) -> Iterator[Gateway]:
    """Put nginx as it is by itself in front of a server: it answers 502 and some HTML."""
    assert PROGRAM, "nginx is not installed"
    port = free_port()
    conf = NGINX.format(directory=directory, port=port, server=server.url)
    (directory / "nginx.conf").write_text(conf)
    command = [PROGRAM, "-c", str(directory / "nginx.conf"), "-p", str(directory)]
    process = subprocess.Popen(command, env=os.environ)
    try:
        wait_until((directory / "nginx.pid").exists, 10)
        yield Gateway(port, directory / "log", "while connecting to upstream")
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def vite(directory: Path, server: Server) -> Iterator[Gateway]:
    """Put Vite's development server in front of a server: it answers 500 and nothing."""
    port = free_port()
    (directory / "vite.config.mjs").write_text(VITE.format(server=server.url))
    program = str(javascript.NODE_MODULES / "vite" / "bin" / "vite.js")
    command = ["node", program, "--port", str(port), "--strictPort", "--host", "127.0.0.1"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=javascript.environment(), stdout=log, stderr=log
        )
        try:
            wait_until(lambda: "ready in" in (directory / "log").read_text(), 30)
            yield Gateway(port, directory / "log", "http proxy error")
        finally:
            process.terminate()
            process.wait(10)


GATEWAYS: dict[str, Callable[[Path, Server], AbstractContextManager[Gateway]]] = {
    "nginx": nginx,
    "vite": vite,
}
