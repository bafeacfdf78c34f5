"""A scripted Ollama: real HTTP and Ollama's wire format, answers and failures as a test wants them.

In a test it runs in a thread of the test process::

    with ScriptedOllama() as ollama:
        ollama.script = Script(["Hel", "lo"], then="die")
        ...                                    # talk to ollama.url
        assert ollama.chats[0].ended_by == "script"

For benchmarks it is a process of its own, see `__main__.py`.

The format follows Ollama's `docs/api.md` and `server/routes.go`. Like Ollama it sends a chat's
headers with its first token, not before. What waits here blocks: a coroutine calls
``await asyncio.to_thread(ollama.wait_for_open, 1)``.
"""

from testing.scripted_ollama.script import (
    ChatSeen,
    ModelInfo,
    Script,
    Then,
    count_tokens,
    echo,
    tokens_of,
)
from testing.scripted_ollama.server import ScriptedOllama

__all__ = [
    "ChatSeen",
    "ModelInfo",
    "Script",
    "ScriptedOllama",
    "Then",
    "count_tokens",
    "echo",
    "tokens_of",
]
