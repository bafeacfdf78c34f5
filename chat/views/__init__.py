"""The calls under /chat/, and a user's usage."""
