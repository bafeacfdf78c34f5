"""The project's ASGI application, counting its reads of the database.

`GET /statements/` returns the count so far. Django's execute wrappers do the counting, which works
the same for every database and sees the statements of every thread.
"""

import threading
from collections.abc import Callable
from typing import Any

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from llama_chatbot.asgi import application as project

_lock = threading.Lock()
_number = 0

READS = ("SELECT", "WITH")


def counted(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    """Run a statement, and count it if it reads."""
    global _number
    if sql.lstrip("( \n").startswith(READS):
        with _lock:
            _number += 1
    return execute(sql, params, many, context)


def watch(connection: BaseDatabaseWrapper, **signal: Any) -> None:
    """Count the statements of a new connection."""
    if counted not in connection.execute_wrappers:
        connection.execute_wrappers.append(counted)


connection_created.connect(watch)


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Return the count, or let the project answer."""
    if scope["type"] != "http" or scope["path"] != "/statements/":
        await project(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": False})
    body = str(_number).encode()
    await send({"type": "http.response.body", "body": body, "more_body": False})
