"""The nginx of `deploy/`, in front of servers of the tests."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from testing.processes.base import INHERITED, ROOT, Process
from testing.waiting import wait_until

PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")


class Nginx(Process):
    """nginx with the shipped site, over plain HTTP and with other ports."""

    def __init__(self, directory: Path, ports: Sequence[int]) -> None:
        super().__init__()
        self.directory = directory
        site = (ROOT / "deploy" / "nginx.conf").read_text()
        upstream, https = site.partition("server {\n")[0], site.rpartition("server {\n")[2]
        for shipped, port in zip((8000, 8001), ports, strict=True):
            assert f"127.0.0.1:{shipped} " in upstream
            upstream = upstream.replace(f"127.0.0.1:{shipped} ", f"127.0.0.1:{port} ")
        lines = [line for line in https.splitlines() if "ssl_certificate" not in line]
        https = "\n".join(lines).replace("listen 443 ssl http2", f"listen 127.0.0.1:{self.port}")
        folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{name}_temp_path {directory}/{name};\n" for name in folders)
        (directory / "nginx.conf").write_text(
            f"daemon off;\nworker_processes 1;\npid {directory}/nginx.pid;\n"
            f"error_log {directory}/error.log;\nevents {{ worker_connections 1024; }}\n"
            f"http {{\naccess_log off;\n{temporary}{upstream}server {{\n{https}\n}}\n"
        )

    @property
    def url(self) -> str:
        """The base of every path, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert PROGRAM, "nginx is not installed"
        config = str(self.directory / "nginx.conf")
        environment = {name: "/usr/sbin:/usr/bin:/bin" for name in INHERITED if name == "PATH"}
        arguments = [PROGRAM, "-p", str(self.directory), "-c", config]
        self._spawn([*arguments, "-e", "error.log"], environment, subprocess.DEVNULL)
        wait_until((self.directory / "nginx.pid").exists, 10, "nginx does not start")
