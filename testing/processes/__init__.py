"""Real processes for tests and benchmarks: Memcached, PostgreSQL, nginx, the project's server."""

from testing.processes.base import INHERITED, ROOT, Host, Process, free_port
from testing.processes.memcached import Memcached
from testing.processes.nginx import Nginx
from testing.processes.postgresql import PostgreSQL
from testing.processes.scripted_model import ScriptedModel
from testing.processes.server import Server, StartServer

__all__ = [
    "INHERITED",
    "ROOT",
    "Host",
    "Memcached",
    "Nginx",
    "PostgreSQL",
    "Process",
    "ScriptedModel",
    "Server",
    "StartServer",
    "free_port",
]
