"""The NinjaAPI object and its routers."""

from typing import Any

from django.conf import settings
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from accounts.authentication import anybody, optional, session_only, session_or_token
from accounts.views import router as accounts_router
from chat.views.events import router as events_router
from chat.views.messages import router as messages_router
from chat.views.replies import router as replies_router
from chat.views.search import router as search_router
from chat.views.threads import router as threads_router
from chat.views.transfer import account_router as export_router
from chat.views.transfer import router as transfer_router
from chat.views.usage import router as usage_router
from core import error_handlers
from core.bodies import JsonRenderer, StrictJsonParser, refuse_fields
from core.errors import Forbidden, NotAuthenticated
from core.openapi import Document, Way
from llama_chatbot.health import router as health_router

SESSION: dict[str, list[str]] = {"session": []}
TOKEN: dict[str, list[str]] = {"token": []}
WAYS_TO_AUTHENTICATE = {
    session_only: Way([SESSION], (NotAuthenticated, Forbidden)),
    session_or_token: Way([SESSION, TOKEN], (NotAuthenticated,)),
    anybody: Way([], ()),
    optional: Way([SESSION, TOKEN, {}], (NotAuthenticated,)),
}
SECURITY_SCHEMES = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": settings.SESSION_COOKIE_NAME,
        "description": "The cookie that `POST /auth/login/` sets.",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token from `POST /auth/tokens/`.",
    },
}


class Api(NinjaAPI):
    """The API, with a complete OpenAPI document."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return the name of the view, of which there is one each."""
        return operation.view_func.__name__

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """Return the document."""
        prefix = self.get_root_path(path_params or {}) if path_prefix is None else path_prefix
        return Document(self, prefix, WAYS_TO_AUTHENTICATE, SECURITY_SCHEMES)


api = Api(
    title="Llama Chatbot",
    version="1",
    auth=session_or_token,
    parser=StrictJsonParser(),
    renderer=JsonRenderer(),
    docs_url="/docs/",
)
api.add_decorator(refuse_fields)
error_handlers.register(api)
api.add_router("/auth/usage/", usage_router)
api.add_router("/auth/export/", export_router)
api.add_router("/auth/", accounts_router)
api.add_router("/chat/", threads_router)
api.add_router("/chat/", messages_router)
api.add_router("/chat/", events_router)
api.add_router("/chat/", replies_router)
api.add_router("/chat/", search_router)
api.add_router("/chat/", transfer_router)
api.add_router("/health/", health_router)
