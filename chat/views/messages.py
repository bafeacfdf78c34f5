"""The calls that read a thread's messages, choose a branch, cut one off and copy one."""

from typing import Any

from ninja import Query, Router, Status

from accounts.authentication import UserRequest
from chat import branches, feedback, schemas, statements
from chat.feedback import NotAReply
from chat.models import Message, Thread
from chat.replies.store import ReplyInProgress
from core.openapi import describe
from core.ratelimit import rate_limit

router = Router(tags=["chat"])


@router.get("/threads/{int:thread_id}/messages/", response=schemas.MessagesOut)
@rate_limit("read")
def list_messages(
    request: UserRequest, thread_id: int, page: Query[schemas.MessagesPage]
) -> dict[str, Any]:
    """List the messages of a branch, oldest first; the first page has the newest of them."""
    thread = statements.get_thread(request.auth, thread_id)
    newest, older = branches.page(thread, page.limit, page.cursor, page.leaf)
    return {"messages": newest[::-1], "next": older}


@router.put("/threads/{int:thread_id}/branch/", response=schemas.ThreadOut)
@rate_limit("write")
def switch_branch(request: UserRequest, thread_id: int, body: schemas.MessageChoice) -> Thread:
    """Make the newest branch through a message the thread's current one."""
    return branches.switch(request.auth, thread_id, body.message_id)


@router.post("/threads/{int:thread_id}/fork/", response={201: schemas.ThreadCreated})
@describe(ReplyInProgress)
@rate_limit("write")
def fork_thread(
    request: UserRequest, thread_id: int, body: schemas.MessageChoice
) -> Status[dict[str, Any]]:
    """Begin a thread with copies of the messages up to this one."""
    thread = branches.fork(request.auth, thread_id, body.message_id)
    return Status(201, {"thread_id": thread.pk, "thread": thread})


@router.delete("/threads/{int:thread_id}/messages/{int:message_id}/", response=schemas.StatusOut)
@describe(ReplyInProgress)
@rate_limit("write")
async def delete_message(request: UserRequest, thread_id: int, message_id: int) -> dict[str, str]:
    """Delete a message with all that follows it."""
    await branches.delete(request.auth, thread_id, message_id)
    return {"status": "Message deleted successfully"}


@router.put(
    "/threads/{int:thread_id}/messages/{int:message_id}/feedback/", response=schemas.MessageOut
)
@describe(NotAReply)
@rate_limit("write")
def rate_reply(
    request: UserRequest, thread_id: int, message_id: int, body: schemas.Feedback
) -> Message:
    """Say what the user thinks of a reply, or take it back."""
    return feedback.rate(request.auth, thread_id, message_id, body.rating, body.comment)
