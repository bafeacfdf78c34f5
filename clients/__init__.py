"""Clients of the API, in other languages."""
