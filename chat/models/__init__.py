"""Threads, their messages, and how much was used of the models."""

from chat.models.messages import (
    Message,
    MessageQuerySet,
    MessageStatus,
    RatedReply,
    Send,
    Sender,
)
from chat.models.search import MessageTerms, TitleTerms, UnindexedText
from chat.models.threads import Thread, ThreadEvent, ThreadManager
from chat.models.usage import Usage, UsageQuerySet
from chat.models.workers import Turn, Worker

__all__ = [
    "Message",
    "MessageQuerySet",
    "MessageStatus",
    "MessageTerms",
    "RatedReply",
    "Send",
    "Sender",
    "Thread",
    "ThreadEvent",
    "ThreadManager",
    "TitleTerms",
    "Turn",
    "UnindexedText",
    "Usage",
    "UsageQuerySet",
    "Worker",
]
