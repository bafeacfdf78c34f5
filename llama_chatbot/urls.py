"""The URLs: the API, OpenAI's protocol and the operator's admin."""

from django.contrib import admin
from django.urls import path

from accounts.admin import OwnPasswordChangeView
from llama_chatbot.api import api
from openai_api.api import api as openai_api

admin.site.site_header = admin.site.site_title = "Llama Chatbot"

urlpatterns = [
    # Overrides the admin's own view of this path, whose form cannot be replaced.
    path("admin/password_change/", admin.site.admin_view(OwnPasswordChangeView.as_view())),
    path("admin/", admin.site.urls),
    path("v1/", openai_api.urls),
    path("", api.urls),
]
