"""What is done in the background, in this order: threads are deleted before their users."""

import accounts.cleanup
import chat.cleanup
import chat.search.index
import chat.threads

STEPS = (
    chat.cleanup.delete_expired_keys,
    chat.threads.delete_expired,
    chat.threads.delete_unused,
    chat.cleanup.delete_old_events,
    chat.cleanup.delete_hidden_threads,
    chat.search.index.index_some,
    accounts.cleanup.delete_expired_sessions,
    accounts.cleanup.delete_expired_tokens,
    accounts.cleanup.delete_hidden_users,
)
