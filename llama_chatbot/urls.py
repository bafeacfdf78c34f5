"""The URLs: the API, OpenAI's protocol, the operator's admin and the page."""

from django.conf import settings
from django.contrib import admin
from django.urls import path

from accounts.admin import OwnPasswordChangeView
from accounts.hashing import form_hashes_password
from llama_chatbot.api import api
from llama_chatbot.metrics import read_metrics
from openai_api.api import api as openai_api
from web.views import page

admin.site.site_header = admin.site.site_title = "Llama Chatbot"
admin.site.site_url = "/" if settings.CHAT_PAGE else None

urlpatterns = [
    # Before the admin's own views of these paths: both hash passwords, and the second has a form
    # that cannot be replaced.
    path("admin/login/", form_hashes_password(admin.site.login)),
    path(
        "admin/password_change/",
        form_hashes_password(admin.site.admin_view(OwnPasswordChangeView.as_view())),
    ),
    path("admin/", admin.site.urls),
    path("metrics", read_metrics),
    path("v1/", openai_api.urls),
    *([path("", page)] if settings.CHAT_PAGE else []),
    path("", api.urls),
]
