"""Calls to Ollama."""

import os

# On import, the package makes a client of its own for OLLAMA_HOST, and knows one address only.
_hosts = os.environ.pop("OLLAMA_HOST", None)
try:
    import ollama as ollama
finally:
    if _hosts is not None:
        os.environ["OLLAMA_HOST"] = _hosts
