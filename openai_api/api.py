"""The NinjaAPI object of the calls under /v1/; OpenAI itself documents them."""

from ninja import NinjaAPI

from chat.ollama.errors import UnknownModel
from core import error_handlers
from core.bodies import JsonRenderer, StrictJsonParser
from openai_api.errors import handle_unknown_model
from openai_api.views import router

api = NinjaAPI(
    title="OpenAI's protocol",
    urls_namespace="openai",
    parser=StrictJsonParser(),
    renderer=JsonRenderer(),
    docs_url=None,
    openapi_url=None,
)
error_handlers.register(api)
api.exception_handler(UnknownModel)(handle_unknown_model)
api.add_router("", router)
