"""The NinjaAPI object and its routers."""

from ninja import NinjaAPI
from ninja.operation import Operation

from accounts.authentication import session_or_token
from accounts.views import router as accounts_router
from chat.views.replies import router as replies_router
from chat.views.threads import router as threads_router
from chat.views.usage import router as usage_router
from core import error_handlers
from core.bodies import JsonRenderer, StrictJsonParser, refuse_fields
from llama_chatbot.health import router as health_router


class Api(NinjaAPI):
    """Names each operation in the OpenAPI document after its app, whichever module has the view."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return a name such as `chat_views_create_thread`."""
        app, has_package, _ = operation.view_func.__module__.partition(".views.")
        if has_package:
            return f"{app}_views_{operation.view_func.__name__}"
        return super().get_openapi_operation_id(operation)


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
api.add_router("/auth/", accounts_router)
api.add_router("/chat/", threads_router)
api.add_router("/chat/", replies_router)
api.add_router("/health/", health_router)
