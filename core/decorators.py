"""Decorators for views, sync or async."""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest

Check = Callable[[HttpRequest], None]


def before_view(check: Check, *, blocks: bool = True) -> Callable[..., Any]:
    """Decorate a view so that `check` runs first, and can refuse the request by raising an error.

    A check that `blocks` runs in the request's thread, off the event loop.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        if iscoroutinefunction(view):

            @wraps(view)
            async def async_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                if blocks:
                    await sync_to_async(check)(request)
                else:
                    check(request)
                return await view(request, *args, **kwargs)

            return async_view

        @wraps(view)
        def sync_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            check(request)
            return view(request, *args, **kwargs)

        return sync_view

    return decorate
