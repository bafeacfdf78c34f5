"""The calls under /chat/, and a user's usage: threads, messages, replies and models."""

from datetime import timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import aget_object_or_404
from django.utils import timezone
from ninja import Query, Router, Status

from accounts.authentication import UserRequest, while_there
from accounts.models import User
from chat import llm, replies, schemas, streams
from chat.database import in_database
from chat.journal import Draft, repeated
from chat.models import Message, Send, Sender, Thread
from llama_chatbot import ratelimit
from llama_chatbot.errors import ApiError, NotFound
from llama_chatbot.locks import one_at_a_time
from llama_chatbot.ratelimit import rate_limit

router = Router(tags=["chat"])
usage_router = Router(tags=["accounts"])

REPEATED_SEND_SECONDS = 5.0  # in which a send is mostly stored; who comes later is counted

NO_SETTINGS = schemas.ThreadSettings()


@router.post("/threads/new/", response={201: schemas.ThreadCreated})
@rate_limit("write")
async def create_thread(
    request: UserRequest, body: schemas.ThreadSettings = NO_SETTINGS
) -> Status[dict[str, Any]]:
    """Begin a thread."""
    fields = {"model": settings.OLLAMA_MODEL, **await checked(body)}
    thread = await in_database(begin_thread, request.auth, fields)
    return Status(201, {"thread_id": thread.pk, "thread": thread})


@router.get("/threads/", response=schemas.ThreadsOut)
@rate_limit("read")
def list_threads(request: UserRequest, page: Query[schemas.Page]) -> dict[str, Any]:
    """List the user's threads, newest activity first."""
    threads, cursor = Thread.objects.page(request.auth, page.limit, page.cursor)
    return {"threads": threads, "next": cursor}


@router.delete("/threads/delete/", response=schemas.Said)
@rate_limit("write")
def delete_threads(request: UserRequest) -> dict[str, str]:
    """Delete all of the user's threads."""
    number = replies.delete_threads(request.auth.threads.all())
    return {"status": f"Successfully deleted {number} threads"}


@router.get("/threads/{int:thread_id}/", response=schemas.ThreadOut)
@rate_limit("read")
def read_thread(request: UserRequest, thread_id: int) -> Thread:
    """Return a thread."""
    return Thread.objects.of(request.auth, thread_id)


@router.patch("/threads/{int:thread_id}/", response=schemas.ThreadOut)
@rate_limit("write")
async def change_thread(
    request: UserRequest, thread_id: int, body: schemas.ThreadSettings = NO_SETTINGS
) -> Thread:
    """Change what is named of a thread."""
    await aget_object_or_404(request.auth.threads, pk=thread_id)
    if changes := await checked(body):
        await request.auth.threads.filter(pk=thread_id).aupdate(**changes)
    return await aget_object_or_404(request.auth.threads, pk=thread_id)


@router.api_operation(
    ["PUT", "PATCH"], "/threads/{int:thread_id}/update-title/", response=schemas.Said
)
@rate_limit("write")
def update_title(request: UserRequest, thread_id: int, body: schemas.NewTitle) -> dict[str, str]:
    """Give a thread a title."""
    thread = Thread.objects.of(request.auth, thread_id)
    thread.title, thread.title_is_given = body.title, True
    thread.save(update_fields=["title", "title_is_given"])
    return {"status": "Title updated successfully"}


@router.delete("/threads/{int:thread_id}/delete/", response=schemas.Said)
@rate_limit("write")
def delete_thread(request: UserRequest, thread_id: int) -> dict[str, str]:
    """Delete a thread with its messages."""
    if not replies.delete_threads(request.auth.threads.filter(pk=thread_id)):
        raise NotFound
    return {"status": "Thread deleted successfully"}


@router.get("/threads/{int:thread_id}/messages/", response=schemas.MessagesOut)
@rate_limit("read")
def list_messages(
    request: UserRequest, thread_id: int, page: Query[schemas.MessagesPage]
) -> dict[str, Any]:
    """List a thread's messages, oldest first; the first page has the newest of them."""
    thread = Thread.objects.of(request.auth, thread_id)
    messages, cursor = Message.objects.page(thread, page.limit, page.cursor)
    return {"messages": messages, "next": cursor}


@router.post("/response/{int:thread_id}/", response=schemas.WholeReply)
async def respond(request: UserRequest, thread_id: int, body: schemas.NewMessage) -> dict[str, Any]:
    """Send a message; answer with the whole reply."""
    reply_id = await send(request, thread_id, body)
    message = await replies.wait(reply_id)
    return {"response": message.content, "message": message, "usage": message.usage}


@router.post("/streaming-response/{int:thread_id}/")
async def stream_response(
    request: UserRequest, thread_id: int, body: schemas.NewMessage
) -> HttpResponseBase:
    """Send a message; answer with the reply as it is written."""
    reply_id = await send(request, thread_id, body)
    return await streams.respond(request, reply_id, replies.follow(reply_id))


@router.get("/streaming-response/{int:thread_id}/")
@rate_limit("read")
async def follow_response(
    request: UserRequest, thread_id: int, place: Query[schemas.Place]
) -> HttpResponseBase:
    """Follow the thread's running reply, or replay its last one; 204 where there is none."""
    thread = await aget_object_or_404(request.auth.threads, pk=thread_id)
    newest = thread.messages.filter(sender=Sender.BOT).order_by("-pk").values_list("pk", flat=True)
    reply_id = await newest.afirst()
    if reply_id is None:
        return HttpResponse(status=204)
    last_event_id = request.headers.get("Last-Event-ID")
    offset = streams.offset_of(last_event_id, reply_id) if last_event_id else place.offset
    if offset is None:
        return HttpResponse(status=204)
    return await streams.respond(request, reply_id, replies.follow(reply_id, offset))


@router.post("/threads/{int:thread_id}/stop/", response=schemas.Said)
@rate_limit("write")
async def stop(request: UserRequest, thread_id: int) -> dict[str, str]:
    """Stop the thread's running reply; what was written stays."""
    thread = await aget_object_or_404(request.auth.threads, pk=thread_id)
    was_running = await replies.stop_and_wait(Q(thread=thread))
    return {"status": "stopped" if was_running else "idle"}


@router.get("/models/", response=schemas.ModelsOut)
@rate_limit("read")
async def list_models(request: UserRequest) -> dict[str, Any]:
    """List the models to choose from."""
    return {"models": await llm.models(), "default": llm.full_name(settings.OLLAMA_MODEL)}


@usage_router.get("", response=schemas.UsageOut)
@rate_limit("read")
def read_usage(request: UserRequest, period: Query[schemas.Period]) -> dict[str, Any]:
    """Tell what the user has used of each model on each of the last days."""
    since = timezone.now().date() - timedelta(days=period.days - 1)
    used = request.auth.usage.filter(date__gte=since).order_by("-date", "model")
    return {"days": used, "total": used.total()}


def begin_thread(user: User, fields: dict[str, Any]) -> Thread:
    """Store a new thread."""
    with while_there(user):
        return Thread.objects.create(user=user, **fields)


async def send(request: UserRequest, thread_id: int, body: schemas.NewMessage) -> int:
    """Send a message, once for each idempotency key; return its reply's id."""
    parent = body.parent_id if "parent_id" in body.model_fields_set else "newest"
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > Send.MAX_KEY_LENGTH:
        raise ApiError(f"An Idempotency-Key has at most {Send.MAX_KEY_LENGTH} characters.")
    draft = Draft(request.auth, thread_id, body.message, parent, key)
    if not key:
        return await send_draft(request, draft)
    # Whoever repeats it at the same moment is to find the reply, and not to be counted.
    name = sha256(key.encode()).hexdigest()
    async with one_at_a_time(f"send:{request.auth.pk}:{name}", REPEATED_SEND_SECONDS):
        return await send_draft(request, draft)


async def send_draft(request: UserRequest, draft: Draft) -> int:
    """Send a message, or find the reply that its key has begun; return the reply's id."""
    admitted = await in_database(admit, request, draft)
    return admitted if isinstance(admitted, int) else await replies.send(draft, admitted)


def admit(request: UserRequest, draft: Draft) -> Thread | int:
    """Return the thread to which a draft may be sent, or the reply that its key has begun before.

    Raises `RateLimited` and `Http404`.
    """
    if reply_id := repeated(draft):
        return reply_id
    ratelimit.count(request, "chat")
    return Thread.objects.of(request.auth, draft.thread_id)


async def checked(body: schemas.ThreadSettings) -> dict[str, Any]:
    """Return what is to be changed of a thread. Raises `UnknownModel`."""
    changes = body.changes()
    if body.model:
        await llm.require_model(body.model)
    return changes
