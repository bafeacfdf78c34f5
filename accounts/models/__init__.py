"""Users, and what authenticates their requests: sessions and tokens."""

from accounts.models.sessions import Session
from accounts.models.tokens import Token, TokenManager
from accounts.models.users import User, UserDeleted, UserManager

__all__ = ["Session", "Token", "TokenManager", "User", "UserDeleted", "UserManager"]
