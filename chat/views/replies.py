"""The calls that send a message, and read, follow and stop the reply to it."""

from hashlib import sha256
from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from ninja import Query, Router

from accounts.authentication import UserRequest
from accounts.models import User
from chat import branches, schemas, statements, threads
from chat.models import Message, MessageStatus, Send, Sender, Thread
from chat.ollama import client
from chat.ollama.errors import (
    CannotContinue,
    ModelBusy,
    ModelMissing,
    ModelTimeout,
    ModelUnavailable,
)
from chat.replies import actions, forms, registry
from chat.replies.drafts import Draft, NothingToRegenerate, Regeneration
from chat.replies.events import ReplyInterrupted
from chat.replies.follow import follow, wait
from chat.replies.forms.schemas import CONTENT, LAST_EVENT_ID, REPLY_ID, THREAD_ID
from chat.replies.forms.sse import offset_of, require_event_id
from chat.replies.parameters import Parameters
from chat.replies.store import IdempotencyKeyReused, ReplyInProgress, find_repeated
from chat.replies.turns import Busy
from chat.usage import QuotaExceeded
from core import ratelimit
from core.database import in_database
from core.errors import ApiError, NotFound
from core.locks import cache_lock
from core.openapi import Header, describe
from core.ratelimit import rate_limit

router = Router(tags=["chat"])

LAST_REPLY = schemas.ReplyChoice()
LAST_MESSAGE = schemas.RegenerateRequest()

REPEATED_SEND_SECONDS = 5.0  # in which a send is mostly stored; who comes later is counted


SEND_ERRORS = (
    ReplyInProgress,
    IdempotencyKeyReused,
    QuotaExceeded,
    Busy,
    ModelUnavailable,
    ModelBusy,
    ModelMissing,
    ModelTimeout,
)
IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    "Makes the send safe to repeat within a day.",
    {"type": "string", "maxLength": Send.MAX_KEY_LENGTH},
)


@router.post("/response/{int:thread_id}/", response=schemas.WholeReply)
@describe(*SEND_ERRORS, ReplyInterrupted, request_headers=(IDEMPOTENCY_KEY,))
@rate_limit("chat", repeatable=True)
async def respond(request: UserRequest, thread_id: int, body: schemas.NewMessage) -> dict[str, Any]:
    """Send a message; answer with the whole reply."""
    return await whole(await ask(request, message_draft(request, thread_id, body)))


@router.post("/response/new/", response=schemas.WholeReply)
@describe(
    *SEND_ERRORS,
    ReplyInterrupted,
    request_headers=(IDEMPOTENCY_KEY,),
    response_headers=(THREAD_ID,),
)
@rate_limit("chat", repeatable=True)
async def respond_in_new_thread(
    request: UserRequest, response: HttpResponse, body: schemas.FirstMessage
) -> dict[str, Any]:
    """Begin a thread with a message; answer with the whole reply."""
    answer = await whole(await ask(request, first_draft(request, body)))
    response["Thread-Id"] = str(answer["message"].thread_id)
    return answer


@router.post("/streaming-response/{int:thread_id}/")
@describe(
    *SEND_ERRORS,
    request_headers=(IDEMPOTENCY_KEY,),
    response_headers=(REPLY_ID,),
    content=CONTENT,
)
@rate_limit("chat", repeatable=True)
async def stream_response(
    request: UserRequest, thread_id: int, body: schemas.NewMessage
) -> HttpResponseBase:
    """Send a message; answer with the reply as it is written."""
    reply_id = await ask(request, message_draft(request, thread_id, body))
    return await forms.respond(request, reply_id, follow(reply_id))


@router.post("/streaming-response/new/")
@describe(
    *SEND_ERRORS,
    request_headers=(IDEMPOTENCY_KEY,),
    response_headers=(REPLY_ID, THREAD_ID),
    content=CONTENT,
)
@rate_limit("chat", repeatable=True)
async def stream_response_in_new_thread(
    request: UserRequest, body: schemas.FirstMessage
) -> HttpResponseBase:
    """Begin a thread with a message; answer with the reply as it is written."""
    reply_id = await ask(request, first_draft(request, body))
    thread_id = await in_database(thread_id_of, reply_id)
    answer = await forms.respond(request, reply_id, follow(reply_id))
    if thread_id is not None:
        answer["Thread-Id"] = str(thread_id)
    return answer


@router.post("/threads/{int:thread_id}/regenerate/")
@describe(
    *SEND_ERRORS,
    NothingToRegenerate,
    request_headers=(IDEMPOTENCY_KEY,),
    response_headers=(REPLY_ID,),
    content=CONTENT,
)
@rate_limit("chat", repeatable=True)
async def regenerate_response(
    request: UserRequest, thread_id: int, body: schemas.RegenerateRequest = LAST_MESSAGE
) -> HttpResponseBase:
    """Answer the same question again, with the reply as it is written."""
    options = body.options.chosen() if body.options else None
    parameters = Parameters(body.model or "", options, format=body.format)
    draft = Regeneration(request.auth, thread_id, body.message_id, key_of(request), parameters)
    reply_id = await ask(request, draft)
    return await forms.respond(request, reply_id, follow(reply_id))


@router.get("/streaming-response/{int:thread_id}/")
@describe(
    ModelUnavailable,
    ModelTimeout,
    ReplyInterrupted,
    request_headers=(LAST_EVENT_ID,),
    response_headers=(REPLY_ID,),
    content=CONTENT,
    no_content="There is no reply to follow.",
)
@rate_limit("read")
async def follow_response(
    request: UserRequest, thread_id: int, resume: Query[schemas.ResumePoint]
) -> HttpResponseBase:
    """Follow the thread's running reply, or replay its last one; 204 where there is none."""
    last_event_id = request.headers.get("Last-Event-ID")
    if last_event_id:
        require_event_id(last_event_id)
    reply = await in_database(branches.reply_to_follow, request.auth, thread_id)
    if reply is None:
        return HttpResponse(status=204)
    reply_id, status = reply.pk, reply.status
    if forms.preferred_form(request).is_replay:
        if status != MessageStatus.GENERATING:
            return HttpResponse(status=204)
        return await forms.respond(request, reply_id, follow(reply_id))
    offset = offset_of(last_event_id, reply_id) if last_event_id else resume.offset
    if offset is None:
        return HttpResponse(status=204)
    return await forms.respond(request, reply_id, follow(reply_id, offset))


@router.post("/threads/{int:thread_id}/continue/")
@describe(
    ReplyInProgress,
    CannotContinue,
    QuotaExceeded,
    Busy,
    ModelUnavailable,
    ModelBusy,
    ModelTimeout,
    response_headers=(REPLY_ID,),
    content=CONTENT,
)
@rate_limit("chat")
async def continue_response(
    request: UserRequest, thread_id: int, body: schemas.ReplyChoice = LAST_REPLY
) -> HttpResponseBase:
    """Have a reply that was cut short go on; answer with what is new, as it is written."""
    reply = await in_database(find_reply, request.auth, thread_id, body.message_id)
    await actions.continue_reply(reply)
    return await forms.respond(request, reply.pk, follow(reply.pk, len(reply.content)))


@router.post("/threads/{int:thread_id}/stop/", response=schemas.StatusOut)
@rate_limit("write")
async def stop(request: UserRequest, thread_id: int) -> dict[str, str]:
    """Stop the thread's running reply; what was written stays."""
    thread = await in_database(get_object_or_404, request.auth.threads, pk=thread_id)
    was_running = await actions.stop_and_wait(Q(thread=thread))
    return {"status": "stopped" if was_running else "idle"}


def find_reply(user: User, thread_id: int, message_id: int | None) -> Message:
    """Return a reply of one of the user's threads, the last of its current branch without an id.

    Raises `Http404`.
    """
    thread = statements.get_thread(user, thread_id)
    replies = Message.objects.select_related("thread__user").filter(
        thread=thread, sender=Sender.BOT
    )
    wanted = message_id or thread.current_message_id
    reply = (replies.filter(pk=wanted) if wanted else replies.order_by("-pk")).first()
    if reply is None:
        raise NotFound
    return reply


def message_draft(request: UserRequest, thread_id: int, body: schemas.NewMessage) -> Draft:
    """Return what is sent to a thread."""
    parent = body.parent_id if "parent_id" in body.model_fields_set else "newest"
    parameters = Parameters(format=body.format)
    return Draft(request.auth, thread_id, body.message, parent, key_of(request), parameters)


def first_draft(request: UserRequest, body: schemas.FirstMessage) -> Draft:
    """Return what is sent to begin a thread."""
    parameters = Parameters(format=body.format)
    key = key_of(request)
    return Draft(request.auth, 0, body.message, None, key, parameters, body.changes())


async def whole(reply_id: int) -> dict[str, Any]:
    """Return a reply when it has ended, as the calls that do not stream answer it."""
    message = await wait(reply_id)
    await in_database(branches.add_siblings, [message])
    return {"response": message.content, "message": message, "usage": message.usage}


def thread_id_of(reply_id: int) -> int | None:
    """Return the id of a reply's thread, None where the reply has failed and is gone."""
    if reply := registry.current.replies.get(reply_id):
        return reply.started.thread.pk
    return Message.objects.filter(pk=reply_id).values_list("thread_id", flat=True).first()


async def ask(request: UserRequest, draft: Draft | Regeneration) -> int:
    """Have a draft answered, once for each idempotency key; return the reply's id."""
    if not draft.key:
        return await admit_and_send(request, draft)
    if len(draft.key) > Send.MAX_KEY_LENGTH:
        raise ApiError(f"An Idempotency-Key has at most {Send.MAX_KEY_LENGTH} characters.")
    # Whoever repeats it at the same moment is to find the reply, and not to be counted.
    name = sha256(draft.key.encode()).hexdigest()
    async with cache_lock(f"send:{request.auth.pk}:{name}", REPEATED_SEND_SECONDS):
        return await admit_and_send(request, draft)


async def admit_and_send(request: UserRequest, draft: Draft | Regeneration) -> int:
    """Send a draft, or find the reply that its key has started; return the reply's id."""
    admitted = await in_database(admit, request, draft)
    if isinstance(admitted, int):
        return admitted
    await require_named_model(draft)
    return await actions.send(draft, admitted)


def admit(request: UserRequest, draft: Draft | Regeneration) -> Thread | int:
    """Return the thread to which a draft may be sent, or the reply that its key has started before.

    Raises `RateLimited` and `Http404`.
    """
    if reply_id := find_repeated(draft):
        return reply_id
    ratelimit.count_pending(request)
    if isinstance(draft, Draft) and draft.settings is not None:
        return threads.new(draft.user, draft.settings)
    return statements.get_thread(draft.user, draft.thread_id)


async def require_named_model(draft: Draft | Regeneration) -> None:
    """Raise `UnknownModel` where a draft names a model that Ollama does not have."""
    named = draft.parameters.model
    if isinstance(draft, Draft) and draft.settings:
        named = draft.settings.get("model", "")
    if named:
        await client.require_model(named)


def key_of(request: UserRequest) -> str:
    """Return the request's idempotency key, empty where it has none."""
    return request.headers.get("Idempotency-Key", "")
