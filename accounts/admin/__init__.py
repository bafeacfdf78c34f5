"""The operator's view of accounts, and how operators log in."""

from accounts.admin.operators import GroupAdmin, LogEntryAdmin, OwnPasswordChangeView
from accounts.admin.users import UserAdmin

__all__ = ["GroupAdmin", "LogEntryAdmin", "OwnPasswordChangeView", "UserAdmin"]
