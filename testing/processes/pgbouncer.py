"""PgBouncer with the settings of deploy/, as they stand in production."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import psycopg

from testing.processes.base import LOCALHOST, ROOT, Host, Process
from testing.processes.postgresql import PostgreSQL
from testing.waiting import wait_until

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
SESSIONS = 4

# Each transaction has the session that has been idle longest, so that nobody keeps one by chance.
OURS = f"""
auth_type = trust
min_pool_size = {SESSIONS}
default_pool_size = {SESSIONS}
server_round_robin = 1
"""


class PgBouncer(Process):
    """deploy/pgbouncer.ini in front of a PostgreSQL; only addresses, paths and sizes differ."""

    def __init__(self, postgresql: PostgreSQL, host: Host = LOCALHOST) -> None:
        super().__init__(host)
        self._directory = tempfile.TemporaryDirectory(prefix="pgbouncer-")
        directory = Path(self._directory.name)
        settings = (ROOT / "deploy" / "pgbouncer.ini").read_text()
        replaced = {
            "host=127.0.0.1 port=5432 dbname=llama": (
                f"host={postgresql.host.address} port={postgresql.port} dbname=postgres"
            ),
            "listen_addr = 127.0.0.1": f"listen_addr = {host.address}",
            "listen_port = 6432": f"listen_port = {self.port}",
            "unix_socket_dir = /var/run/postgresql": "unix_socket_dir =",
            "/var/run/postgresql/": f"{directory}/",
            "/var/log/postgresql/": f"{directory}/",
            "/etc/pgbouncer/": f"{directory}/",
        }
        for shipped, ours in replaced.items():
            assert shipped in settings, shipped
            settings = settings.replace(shipped, ours)
        settings = re.sub("^(auth_type|default_pool_size) .*\n", "", settings, flags=re.MULTILINE)
        (directory / "pgbouncer.ini").write_text(settings + OURS)
        (directory / "userlist.txt").write_text('"postgres" ""\n')
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres")

    @staticmethod
    def available() -> bool:
        """Whether this machine has what it needs."""
        return PROGRAM is not None

    @property
    def url(self) -> str:
        """What DATABASE_URL is set to."""
        return f"postgres://postgres@{self.host.address}:{self.port}/llama"

    def start(self) -> None:
        """Start it, and wait until a statement goes through it."""
        assert PROGRAM, "PgBouncer is not installed"
        directory = Path(self._directory.name)
        as_user = ["-u", "postgres"] if os.geteuid() == 0 else []  # it refuses to be root
        with (directory / "output").open("wb") as output:
            self._spawn([PROGRAM, *as_user, str(directory / "pgbouncer.ini")], os.environ, output)
        try:
            wait_until(self._answers, 10, lambda: (directory / "output").read_text())
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True
