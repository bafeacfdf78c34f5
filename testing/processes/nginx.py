"""nginx with the site of deploy/, as it stands in production."""

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from testing.processes.base import LOCALHOST, ROOT, Host, Process, free_port
from testing.processes.server import Server
from testing.waiting import wait_until

PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
CERTIFICATES = "/etc/letsencrypt/live/api.example.com"

SHIPPED = "    server {} max_fails=0;\n"
MAIN = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""


class Nginx(Process):
    """The site of deploy/nginx.conf in front of servers; only its addresses and paths differ.

    Without `has_tls` it serves plain HTTP.
    """

    def __init__(
        self,
        directory: Path,
        servers: Sequence[Server],
        *,
        has_tls: bool = True,
        host: Host = LOCALHOST,
    ) -> None:
        super().__init__(host)
        self.has_tls = has_tls
        self.http_port = free_port()
        self.directory = directory
        site = (ROOT / "deploy" / "nginx.conf").read_text()
        lines = [SHIPPED.format(f"{server.host.address}:{server.port}") for server in servers]
        shipped = "".join(SHIPPED.format(f"127.0.0.1:{port}") for port in (8000, 8001))
        assert shipped in site
        site = site.replace(shipped, "".join(lines))
        site = re.sub(r"listen \[::\].*;", "", site)
        site = site.replace("listen 80;", f"listen {host.address}:{self.http_port};")
        site = site.replace("listen 443 ", f"listen {host.address}:{self.port} ")
        site = site.replace(CERTIFICATES, str(directory))
        site = site.replace("/var/log/nginx", str(directory))
        if not has_tls:
            site = re.sub(r"ssl_certificate.*;", "", site.replace(" ssl http2;", ";"))
        (directory / "site.conf").write_text(site)
        (directory / "nginx.conf").write_text(MAIN.format(directory=directory))

    @staticmethod
    def available() -> bool:
        """Whether this machine has what it needs."""
        return bool(PROGRAM and shutil.which("openssl"))

    @property
    def url(self) -> str:
        """The base of every path, without a slash at its end."""
        return f"{'https' if self.has_tls else 'http'}://{self.host.address}:{self.port}"

    def log(self) -> str:
        """All requests that it has logged."""
        return (self.directory / "llama-chatbot.log").read_text()

    @property
    def tls(self) -> ssl.SSLContext:
        """What a client needs that trusts its certificate."""
        return ssl.create_default_context(cafile=str(self.directory / "fullchain.pem"))

    def start(self) -> None:
        """Start it with a certificate of its own, and wait until it answers."""
        assert PROGRAM, "nginx is not installed"
        command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout privkey.pem -out fullchain.pem"
        subject = ["-subj", "/CN=nginx", "-addext", f"subjectAltName=IP:{self.host.address}"]
        subprocess.run(
            [*command.split(), *subject],
            cwd=self.directory,
            check=True,
            capture_output=True,
        )
        nginx = [PROGRAM, "-c", str(self.directory / "nginx.conf"), "-p", str(self.directory)]
        with (self.directory / "output").open("wb") as output:
            self._spawn(nginx, os.environ, output)
        try:
            wait_until(self._answers, 10, lambda: (self.directory / "output").read_text())
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self.host.address, self.port), timeout=1):
            return True
        return False
