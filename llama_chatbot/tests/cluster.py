"""A cluster as docs/production.md describes it: two hosts behind nginx, and what they share."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.core.management import call_command

from testing.fixtures.databases import default_database
from testing.network import hosts
from testing.processes import Memcached, Nginx, PostgreSQL, ScriptedModel, Server

HOSTS = ("proxy", "web-1", "web-2", "db", "gpu-1", "gpu-2")
TOKENS = 60
TOKEN_SECONDS = 1 / 40


@dataclass(frozen=True)
class Cluster:
    """Its parts; the two processes of a host follow each other."""

    nginx: Nginx
    servers: list[Server]
    postgresql: PostgreSQL
    memcached: list[Memcached]
    models: list[ScriptedModel]


@contextmanager
def cluster(directory: Path, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Run a cluster; its database is this thread's default."""
    with ExitStack() as stack:
        network = stack.enter_context(hosts(HOSTS))
        webs = [network["web-1"], network["web-2"]]
        rate = (TOKEN_SECONDS, TOKENS, "--numbered")
        models = [ScriptedModel(*rate, host=network[name]) for name in ("gpu-1", "gpu-2")]
        postgresql = PostgreSQL(network["db"])
        memcached = [Memcached(host) for host in webs]
        for part in (*models, postgresql, *memcached):
            stack.enter_context(part)
        for model in models:
            model.wait()
        stack.enter_context(default_database(postgresql.url))
        call_command("migrate", verbosity=0)

        settings = {
            "DATABASE_URL": postgresql.url,
            "CACHE_LOCATION": ",".join(each.location for each in memcached),
            "OLLAMA_HOST": ",".join(model.url for model in models),
            "OLLAMA_MODEL": "bench",
            "ALLOWED_HOSTS": network["proxy"].address,
            "FORWARDED_ALLOW_IPS": network["proxy"].address,
        }
        servers = [
            Server(directory, {**environment, **settings}, host=host) for host in webs for _ in "12"
        ]
        for server in servers:
            stack.enter_context(server)
        nginx = Nginx(directory, servers, has_tls=False, host=network["proxy"])
        stack.enter_context(nginx)
        yield Cluster(nginx, servers, postgresql, memcached, models)
