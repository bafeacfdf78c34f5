"""The two doors: the API, and the operator's admin."""

from django.contrib import admin
from django.urls import path

from accounts.admin import OwnPasswordView
from llama_chatbot.api import api

admin.site.site_header = admin.site.site_title = "Llama Chatbot"

urlpatterns = [
    # Before the admin's own view of that path, which cannot be given another form.
    path("admin/password_change/", admin.site.admin_view(OwnPasswordView.as_view())),
    path("admin/", admin.site.urls),
    path("", api.urls),
]
