"""Real processes for tests and benchmarks: Memcached, PostgreSQL, and the project's server."""

from testing.processes.base import INHERITED, ROOT, Process, free_port
from testing.processes.memcached import Memcached
from testing.processes.postgresql import PostgreSQL
from testing.processes.server import Server, StartServer

__all__ = [
    "INHERITED",
    "ROOT",
    "Memcached",
    "PostgreSQL",
    "Process",
    "Server",
    "StartServer",
    "free_port",
]
