"""What is deleted in the background, in this order: threads before the users they belong to."""

import accounts.cleanup
import chat.cleanup

STEPS = (
    chat.cleanup.delete_expired_keys,
    chat.cleanup.delete_hidden_threads,
    accounts.cleanup.delete_expired_sessions,
    accounts.cleanup.delete_expired_tokens,
    accounts.cleanup.delete_hidden_users,
)
