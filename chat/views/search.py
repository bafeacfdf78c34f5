"""The call that searches the user's messages and titles."""

from typing import Any

from ninja import Query, Router

from accounts.authentication import UserRequest
from chat import schemas
from chat.search.find import find
from core.ratelimit import rate_limit

router = Router(tags=["chat"])


@router.get("/search/", response=schemas.SearchResults)
@rate_limit("read")
def search(request: UserRequest, page: Query[schemas.SearchPage]) -> dict[str, Any]:
    """Search the user's messages and titles, the best first."""
    results, cursor = find(request.auth, page.q, page.limit, page.cursor)
    return {"results": results, "next": cursor}
