"""A bare Django async view without middleware or database: the least that a call can cost."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY="of-no-use-here-and-long-enough",  # noqa: S106
    ALLOWED_HOSTS=["127.0.0.1"],
    USE_I18N=False,
)


async def answer(request: HttpRequest) -> HttpResponse:
    """Return a minimal answer."""
    return HttpResponse(b'{"status":"ok"}', content_type="application/json")


urlpatterns = [path("health/live/", answer)]

from django.core.asgi import get_asgi_application  # noqa: E402 - needs the settings above

application = get_asgi_application()
