"""The URLs: the API and the operator's admin."""

from django.contrib import admin
from django.urls import path

from accounts.admin import OwnPasswordChangeView
from llama_chatbot.api import api

admin.site.site_header = admin.site.site_title = "Llama Chatbot"

urlpatterns = [
    # Overrides the admin's own view of this path, whose form cannot be replaced.
    path("admin/password_change/", admin.site.admin_view(OwnPasswordChangeView.as_view())),
    path("admin/", admin.site.urls),
    path("", api.urls),
]
