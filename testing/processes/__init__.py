"""Real processes for tests and benchmarks: Memcached, PostgreSQL, nginx, the project's server."""

from testing.processes.base import INHERITED, ROOT, Process, free_port
from testing.processes.memcached import Memcached
from testing.processes.nginx import Nginx
from testing.processes.postgresql import PostgreSQL
from testing.processes.server import Server, StartServer

__all__ = [
    "INHERITED",
    "ROOT",
    "Memcached",
    "Nginx",
    "PostgreSQL",
    "Process",
    "Server",
    "StartServer",
    "free_port",
]
