"""The calls that list, make, change and delete threads, and list the models to choose from."""

from typing import Any

from django.conf import settings
from ninja import Query, Router, Status

from accounts.authentication import UserRequest
from chat import schemas, statements, threads
from chat.models import Thread
from chat.ollama import client
from chat.ollama.errors import ModelTimeout, ModelUnavailable
from core.database import in_database
from core.errors import NotFound
from core.openapi import describe
from core.ratelimit import rate_limit

router = Router(tags=["chat"])

NO_SETTINGS = schemas.ThreadSettings()
NO_CHANGES = schemas.ThreadChanges()
ALL_THREADS = schemas.ThreadsChoice()


@router.post("/threads/new/", response={201: schemas.ThreadCreated})
@describe(ModelUnavailable, ModelTimeout)
@rate_limit("write")
async def create_thread(
    request: UserRequest, body: schemas.ThreadSettings = NO_SETTINGS
) -> Status[dict[str, Any]]:
    """Begin a thread."""
    fields = await checked_changes(body)
    thread = await in_database(threads.create, request.auth, fields)
    return Status(201, {"thread_id": thread.pk, "thread": thread})


@router.get("/threads/", response=schemas.ThreadsOut)
@rate_limit("read")
def list_threads(request: UserRequest, page: Query[schemas.ThreadsPage]) -> dict[str, Any]:
    """List the user's threads, the pinned ones first, then newest activity first."""
    found, cursor = statements.page_of_threads(
        request.auth, page.limit, page.cursor, archived=page.archived
    )
    threads.add_positions(found)
    return {"threads": found, "next": cursor}


@router.delete("/threads/delete/", response=schemas.StatusOut)
@rate_limit("write")
def delete_threads(
    request: UserRequest, body: schemas.ThreadsChoice = ALL_THREADS
) -> dict[str, str]:
    """Delete those of the user's threads that are named, or all of them."""
    chosen = request.auth.threads.all()
    if "ids" in body.model_fields_set:
        chosen = chosen.filter(pk__in=body.ids)
    number = threads.delete(chosen)
    return {"status": f"Successfully deleted {number} threads"}


@router.get("/threads/{int:thread_id}/", response=schemas.ThreadOut)
@rate_limit("read")
def read_thread(request: UserRequest, thread_id: int) -> Thread:
    """Return a thread."""
    return statements.get_thread(request.auth, thread_id)


@router.patch("/threads/{int:thread_id}/", response=schemas.ThreadOut)
@describe(ModelUnavailable, ModelTimeout)
@rate_limit("write")
async def change_thread(
    request: UserRequest, thread_id: int, body: schemas.ThreadChanges = NO_CHANGES
) -> Thread:
    """Change the fields of a thread that are given."""
    await in_database(statements.get_thread, request.auth, thread_id)
    changes = await checked_changes(body)
    return await in_database(threads.change, request.auth, thread_id, changes)


@router.api_operation(
    ["PUT", "PATCH"], "/threads/{int:thread_id}/update-title/", response=schemas.StatusOut
)
@rate_limit("write")
def update_title(request: UserRequest, thread_id: int, body: schemas.NewTitle) -> dict[str, str]:
    """Give a thread a title."""
    changes = schemas.ThreadSettings(title=body.title).changes()
    threads.change(request.auth, thread_id, changes)
    return {"status": "Title updated successfully"}


@router.delete("/threads/{int:thread_id}/delete/", response=schemas.StatusOut)
@rate_limit("write")
def delete_thread(request: UserRequest, thread_id: int) -> dict[str, str]:
    """Delete a thread with its messages."""
    if not threads.delete(request.auth.threads.filter(pk=thread_id)):
        raise NotFound
    return {"status": "Thread deleted successfully"}


@router.get("/models/", response=schemas.ModelsOut)
@describe(ModelUnavailable, ModelTimeout)
@rate_limit("read")
async def list_models(request: UserRequest) -> dict[str, Any]:
    """List the models to choose from."""
    return {"models": await client.models(), "default": client.full_name(settings.OLLAMA_MODEL)}


async def checked_changes(body: schemas.ThreadSettings) -> dict[str, Any]:
    """Return the fields of a thread that the body sets. Raises `UnknownModel`."""
    if body.model:
        await client.require_model(body.model)
    return body.changes()
