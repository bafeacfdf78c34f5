"""The call that tells a tab or a device what happens to its user's threads."""

from collections.abc import AsyncIterator
from contextlib import suppress

from django.http import StreamingHttpResponse
from ninja import Router

from accounts.authentication import UserRequest
from accounts.streams import LoginEnded, while_logged_in
from chat.feed.forms import position_of, preferred_form
from chat.feed.hub import hub
from chat.feed.reader import Notice
from chat.feed.schemas import CONTENT, LAST_EVENT_ID
from chat.replies.forms import HEADERS
from core.openapi import describe
from core.ratelimit import rate_limit

router = Router(tags=["chat"])


@router.get("/events/")
@describe(request_headers=(LAST_EVENT_ID,), content=CONTENT)
@rate_limit("read")
async def follow_threads(request: UserRequest) -> StreamingHttpResponse:
    """Stream what happens to the user's threads, in whatever tab and on whatever device."""
    since = position_of(request.headers.get("Last-Event-ID"))
    notices = hub.listen(request.auth.pk, since)
    first = await anext(notices)  # so that what cannot begin is an error, and not a broken stream
    form = preferred_form(request)
    return StreamingHttpResponse(
        form.encoded(starting_with(first, while_logged_in(request, notices))),
        content_type=form.content_type,
        headers=HEADERS,
    )


async def starting_with(first: Notice, rest: AsyncIterator[Notice]) -> AsyncIterator[Notice]:
    """Yield one notice, then the others, until they or the login end."""
    yield first
    with suppress(LoginEnded):
        async for notice in rest:
            yield notice
