"""`python -m llama_chatbot.launch`: runs `serve`, with Ctrl-C handled before the slow imports."""

import signal
import sys
from types import FrameType

from llama_chatbot.launch import bootstrap


def exit_quietly(number: int, frame: FrameType | None) -> None:
    """Exit without a message: nothing has been started yet."""
    sys.exit(0)


if __name__ == "__main__":
    for each in bootstrap.termination_signals():
        signal.signal(each, exit_quietly)
    from llama_chatbot.launch import serve  # importing it takes half a second

    sys.exit(serve.main())
