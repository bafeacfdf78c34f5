"""The page at `/`."""

from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

PAGE = Path(__file__).parent / "index.html"

# All that it loads comes from this server, and it makes HTML of text only by DOMPurify.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)


@require_safe
async def page(request: HttpRequest) -> HttpResponse:
    """Return the page; it asks the API for all else."""
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    return HttpResponse(PAGE.read_bytes(), headers=headers)
