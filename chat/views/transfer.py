"""The calls that export and import conversations; the export of an account lies under /auth/."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import IO

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from ninja import Query, Router
from pydantic_core import to_json

from accounts.authentication import UserRequest, session_only
from accounts.models import User
from chat import schemas, statements
from chat.replies import registry
from chat.replies.forms import HEADERS
from chat.transfer import export, importing, markdown
from chat.transfer import schemas as lines
from chat.transfer.importing import Line
from chat.transfer.reading import NotReadable
from core import audit
from core.database import in_background, in_database, transfers
from core.errors import ApiError, ServerShuttingDown, UnsupportedMediaType
from core.openapi import describe
from core.ratelimit import rate_limit
from core.uploads import upload_of

router = Router(tags=["chat"])
account_router = Router(auth=session_only, tags=["accounts"])

MAX_UPLOAD_BYTES = 256 * 2**20
NDJSON, JSON, MARKDOWN = "application/x-ndjson", "application/json", "text/markdown"
FILES = (
    JSON,
    NDJSON,
    "application/zip",
    "application/x-zip-compressed",
    "application/octet-stream",
)

importing_users: set[int] = set()  # in this process


class ImportInProgress(ApiError):
    """A user imports one file at a time."""

    status, code = 409, "import_in_progress"
    message = "Another file is being imported: wait until that is done."


@account_router.get("")
@describe(content={NDJSON: lines.ExportLine})
@rate_limit("export")
async def export_account(request: UserRequest) -> StreamingHttpResponse:
    """Export all that is kept of the user."""
    await in_database(audit.record, "export", request.auth.pk)
    return account_download(request.auth)


@router.get("/threads/{int:thread_id}/export/")
@describe(content={MARKDOWN: str, JSON: lines.WholeThread})
@rate_limit("read")
async def export_thread(
    request: UserRequest, thread_id: int, wanted: Query[schemas.ExportFormat]
) -> StreamingHttpResponse:
    """Export a thread: its current branch as Markdown, or the whole tree as JSON."""
    thread = await in_database(statements.get_thread, request.auth, thread_id)
    if wanted.format == "json":
        name = markdown.file_name(thread, "json")
        return download(export.export_thread(thread), JSON, name)
    name = markdown.file_name(thread, "md")
    return download(markdown.export_thread(thread), f"{MARKDOWN}; charset=utf-8", name)


@router.post(
    "/import/",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": f"The file as it is, with one of the types {', '.join(FILES)}.",
            "content": {FILES[-1]: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
@describe(ImportInProgress, NotReadable, ServerShuttingDown, content={NDJSON: lines.ImportLine})
@rate_limit("import")
async def import_conversations(request: UserRequest) -> StreamingHttpResponse:
    """Import the conversations of a file; answer with a line for each, as it is imported."""
    if request.content_type not in FILES:
        raise UnsupportedMediaType(
            f"Send the file as it is, with Content-Type: {', '.join(FILES)}."
        )
    user = request.auth
    if user.pk in importing_users:
        raise ImportInProgress
    importing_users.add(user.pk)
    file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - the lines of the answer close it
    try:
        async for piece in upload_of(request).pieces(MAX_UPLOAD_BYTES):
            file.write(piece)
        told = importing.run(user, file, await importing.known_models())
        first = await in_background(transfers, next, told)
    except BaseException:
        finish(user, file)
        raise
    return StreamingHttpResponse(
        import_lines(user, file, first, told), content_type=NDJSON, headers=HEADERS
    )


async def import_lines(
    user: User, file: IO[bytes], first: Line, told: Iterator[Line]
) -> AsyncIterator[bytes]:
    """Yield the lines of an import; one that cannot go on ends with an error."""
    try:
        line: Line | None = first
        while line is not None:
            yield to_json(line) + b"\n"
            if registry.current.is_draining:
                raise ServerShuttingDown(
                    "The server is about to restart: send the file again in a moment. What has "
                    "been imported is not imported twice."
                )
            line = await in_background(transfers, next, told, None)
    except ApiError as error:
        yield to_json({"type": "error", **error.body()}) + b"\n"
    finally:
        finish(user, file)


def finish(user: User, file: IO[bytes]) -> None:
    """Let the user import again."""
    importing_users.discard(user.pk)
    file.close()


def account_download(user: User) -> StreamingHttpResponse:
    """Return the answer with all that is kept of a user."""
    return download(export.export_account(user), NDJSON, f"{user.username}.ndjson")


def download(pieces: Iterator[bytes], content_type: str, name: str) -> StreamingHttpResponse:
    """Return an answer that browsers save under this name; it is made piece by piece."""
    disposition = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    return StreamingHttpResponse(
        stream(pieces),
        content_type=content_type,
        headers={**HEADERS, "Content-Disposition": disposition},
    )


async def stream(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces that are read from the database."""
    while (piece := await in_background(transfers, next, pieces, None)) is not None:
        yield piece
