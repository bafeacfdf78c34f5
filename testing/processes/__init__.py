"""Real processes of tests and benchmarks: databases, caches, proxies, models and servers."""

from testing.processes.base import INHERITED, ROOT, Host, Process, free_port
from testing.processes.memcached import Memcached
from testing.processes.nginx import Nginx
from testing.processes.pgbouncer import PgBouncer
from testing.processes.postgresql import PostgreSQL
from testing.processes.scripted_model import ScriptedModel
from testing.processes.server import Server, StartServer

__all__ = [
    "INHERITED",
    "ROOT",
    "Host",
    "Memcached",
    "Nginx",
    "PgBouncer",
    "PostgreSQL",
    "Process",
    "ScriptedModel",
    "Server",
    "StartServer",
    "free_port",
]
