"""The calls under /v1/."""

from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Router

from accounts.authentication import UserRequest, get_bearer_token, session_or_token
from accounts.models import User
from chat.ollama import client
from chat.ollama.client import ChatMessage
from chat.replies.forms import HEADERS
from core.errors import NotAuthenticated
from core.ratelimit import rate_limit
from openai_api import generation
from openai_api.chunks import ChatCompletionChunks, completion
from openai_api.schemas import ChatCompletionBody


def token_only(request: HttpRequest) -> User | None:
    """Return the user of the token; reads the database. Raises `NotAuthenticated`."""
    if not get_bearer_token(request):
        raise NotAuthenticated("Send a token as the API key.")
    return session_or_token(request)


router = Router(auth=token_only)


@router.get("/models")
@rate_limit("read")
async def list_models(request: UserRequest) -> dict[str, Any]:
    """List the models."""
    return {"object": "list", "data": [describe_model(model) for model in await client.models()]}


@router.get("/models/{path:name}")
@rate_limit("read")
async def read_model(request: UserRequest, name: str) -> dict[str, Any]:
    """Return one model."""
    await generation.require_model(name)
    found = await client.models()
    return next(describe_model(model) for model in found if model["name"] == client.full_name(name))


@router.post("/chat/completions")
async def create_chat_completion(
    request: UserRequest, body: ChatCompletionBody
) -> HttpResponseBase | dict[str, Any]:
    """Have a model answer a conversation, of which nothing is stored."""
    messages = [
        ChatMessage(role=message.role.replace("developer", "system"), content=message.text)
        for message in body.messages
    ]
    begun = await generation.begin(
        request, request.auth, body.model, messages, body.options(), body.format()
    )
    if body.stream:
        wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        form = ChatCompletionChunks(body.model, include_usage=wants_usage)
        return StreamingHttpResponse(
            await form.encode(begun.events()), content_type=form.content_type, headers=HEADERS
        )
    text, end = await generation.collect(begun.events())
    return completion(body.model, text, begun.thinking, end)


def describe_model(model: client.Model) -> dict[str, Any]:
    """Return a model as OpenAI lists it."""
    return {"id": model["name"], "object": "model", "created": 0, "owned_by": "ollama"}
