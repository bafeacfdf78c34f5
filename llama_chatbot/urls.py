"""The two doors: the API, and the operator's admin."""

from django.contrib import admin
from django.urls import path

from llama_chatbot.api import api

admin.site.site_header = admin.site.site_title = "Llama Chatbot"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", api.urls),
]
