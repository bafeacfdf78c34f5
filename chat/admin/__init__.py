"""The operator's view of threads, messages and usage: to view, and threads also to delete.

What users wrote is shown only to those who may view messages: titles too, since they are made of a
message's first words.
"""

from chat.admin.messages import MessageAdmin, RatedReplyAdmin
from chat.admin.threads import ThreadAdmin
from chat.admin.usage import UsageAdmin
from chat.admin.users import UserAdmin

__all__ = ["MessageAdmin", "RatedReplyAdmin", "ThreadAdmin", "UsageAdmin", "UserAdmin"]
