"""The forms in which a reply is sent, chosen by `Accept`; all say the same.

To add one: a subclass of `form.Form` in a module of its own, and a line in `FORMS`.
"""

from collections.abc import AsyncIterator

from django.http import HttpRequest, StreamingHttpResponse

from accounts.streams import LoginEnded, while_logged_in
from chat.replies.events import Event, Failure
from chat.replies.forms.ai_sdk import UiMessageStream
from chat.replies.forms.form import Form
from chat.replies.forms.ndjson import Ndjson
from chat.replies.forms.sse import ServerSentEvents
from chat.replies.forms.text import PlainText

FORMS: dict[str, type[Form]] = {
    "text/plain": PlainText,
    "text/event-stream": ServerSentEvents,
    "application/x-ndjson": Ndjson,
    "text/event-stream; profile=ai-sdk": UiMessageStream,
}

HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx passes each piece on at once
}


async def respond(
    request: HttpRequest, reply_id: int, events: AsyncIterator[Event]
) -> StreamingHttpResponse:
    """Return the answer that sends a reply's events as the client wants them.

    Plain text begins with the first token, so a failure before it is raised as its `ApiError`.
    """
    form = preferred_form(request)(reply_id)
    content = await form.encode(until_login_ends(request, events))
    headers = {**HEADERS, **form.headers, "Reply-Id": str(reply_id)}
    return StreamingHttpResponse(content, content_type=form.content_type, headers=headers)


async def until_login_ends(
    request: HttpRequest, events: AsyncIterator[Event]
) -> AsyncIterator[Event]:
    """Yield the events; a failure where the session or token of the request ends before them."""
    try:
        async for event in while_logged_in(request, events):
            yield event
    except LoginEnded as error:
        yield Failure(error, reply_kept=True)  # it goes on without this reader


def preferred_form(request: HttpRequest) -> type[Form]:
    """Return the form that `Accept` prefers; plain text for what is none of them.

    Of the parameters that it adds, only a `profile` that is known matters.
    """
    for accepted in request.accepted_types:
        name = f"{accepted.main_type}/{accepted.sub_type}"
        profile = str(accepted.params.get("profile", ""))
        if form := FORMS.get(f"{name}; profile={profile}") or FORMS.get(name):
            return form
        if name in ("*/*", "text/*"):
            break
    return PlainText
