"""The calls under /v1/."""

import time
from collections.abc import AsyncIterator

from django.db.models import Q
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router

from accounts.authentication import UserRequest, get_bearer_token, session_or_token
from accounts.models import User
from chat import branches, threads
from chat.models import Message
from chat.ollama import client
from chat.ollama.client import ChatMessage
from chat.replies import actions
from chat.replies.events import Event
from chat.replies.follow import follow, wait
from chat.replies.forms import HEADERS, until_login_ends
from chat.replies.forms.form import Form
from core import ratelimit
from core.database import in_database
from core.errors import ApiError, NotAuthenticated, NotFound
from core.ratelimit import rate_limit
from openai_api import answers, generation, responses
from openai_api.answers import Json
from openai_api.chunks import ChatCompletionChunks, completion
from openai_api.events import ResponseEvents
from openai_api.schemas import ChatCompletionBody, Following, ResponseBody


def token_only(request: HttpRequest) -> User | None:
    """Return the user of the token; reads the database. Raises `NotAuthenticated`."""
    if not get_bearer_token(request):
        raise NotAuthenticated("Send a token as the API key.")
    return session_or_token(request)


router = Router(auth=token_only)


@router.get("/models")
@rate_limit("read")
async def list_models(request: UserRequest) -> Json:
    """List the models."""
    return {"object": "list", "data": [describe_model(model) for model in await client.models()]}


@router.get("/models/{path:name}")
@rate_limit("read")
async def read_model(request: UserRequest, name: str) -> Json:
    """Return one model."""
    await client.require_model(name)
    found = await client.models()
    return next(describe_model(model) for model in found if model["name"] == client.full_name(name))


@router.post("/chat/completions")
@rate_limit("chat")
async def create_chat_completion(
    request: UserRequest, body: ChatCompletionBody
) -> HttpResponseBase | Json:
    """Have a model answer a conversation, of which nothing is stored."""
    messages = [
        ChatMessage(role=message.role.replace("developer", "system"), content=message.text)
        for message in body.messages
    ]
    begun = await generation.begin(
        request.auth, body.model, messages, body.options(), body.format()
    )
    if body.stream:
        wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        form = ChatCompletionChunks(body.model, include_usage=wants_usage)
        return await stream(request, form, begun.events())
    text, end = await generation.collect(begun.events())
    return completion(body.model, text, begun.thinking, end)


@router.post("/responses")
@rate_limit("chat", repeatable=True)
async def create_response(request: UserRequest, body: ResponseBody) -> HttpResponseBase | Json:
    """Have a model answer an input, as a reply of a thread if it is to be stored."""
    if not body.is_stored:
        await in_database(ratelimit.count_pending, request)
        begun = await responses.begin_unstored(request.auth, body)
        response = answers.of_generation(body, time.time())
        if body.stream:
            return await stream(request, ResponseEvents(response), begun.events())
        text, end = await generation.collect(begun.events())
        return answers.ended(response, text, begun.thinking, end)
    reply_id = await responses.begin(request, body)
    response_id = f"resp_{reply_id}"
    if body.stream:
        return await stream_reply(request, response_id)
    failure: ApiError | None = None
    if not body.background:
        try:
            await wait(reply_id)
        except ApiError as error:
            failure = error
    try:
        return answers.of_reply(await find(request.auth, response_id))
    except NotFound as error:  # a reply that failed before its first word is gone
        raise failure or error from None


@router.get("/responses/{response_id}")
@rate_limit("read")
async def read_response(
    request: UserRequest, response_id: str, how: Query[Following]
) -> HttpResponseBase | Json:
    """Return a response as it is, or its events, those that a reader has not had."""
    if how.stream:
        return await stream_reply(request, response_id, how.starting_after)
    return answers.of_reply(await find(request.auth, response_id))


@router.post("/responses/{response_id}/cancel")
@rate_limit("write")
async def cancel_response(request: UserRequest, response_id: str) -> Json:
    """Stop a response; what was written stays."""
    reply = await find(request.auth, response_id)
    await actions.stop_and_wait(Q(pk=reply.pk))
    return answers.of_reply(await find(request.auth, response_id))


@router.delete("/responses/{response_id}")
@rate_limit("write")
async def delete_response(request: UserRequest, response_id: str) -> Json:
    """Delete a response with its input and all that follows it."""
    reply = await find(request.auth, response_id)
    await branches.delete(request.auth, reply.thread_id, reply.parent_id or reply.pk)
    empty = request.auth.threads.filter(pk=reply.thread_id, messages=None)
    await in_database(threads.delete, empty)
    return {"id": response_id, "object": "response", "deleted": True}


@router.get("/responses/{response_id}/input_items")
@rate_limit("read")
async def list_input_items(request: UserRequest, response_id: str) -> Json:
    """List what a response answers."""
    reply = await find(request.auth, response_id)
    return answers.input_of(reply)


async def find(user: User, response_id: str) -> Message:
    """Return one of the user's replies. Raises `NotFound`."""
    return await in_database(responses.find, user, response_id)


async def stream_reply(
    request: UserRequest, response_id: str, after: int | None = None
) -> HttpResponseBase:
    """Return the events of a reply, after the number `after`."""
    reply = await find(request.auth, response_id)
    form = ResponseEvents(answers.of_reply(reply), after)
    return await stream(request, form, follow(reply.pk))


async def stream(
    request: UserRequest, form: Form, events: AsyncIterator[Event]
) -> HttpResponseBase:
    """Return the answer that sends these events."""
    content = await form.encode(until_login_ends(request, events))
    return StreamingHttpResponse(content, content_type=form.content_type, headers=HEADERS)


def describe_model(model: client.Model) -> Json:
    """Return a model as OpenAI lists it."""
    return {"id": model["name"], "object": "model", "created": 0, "owned_by": "ollama"}
