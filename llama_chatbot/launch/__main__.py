"""`python -m llama_chatbot.launch`: `serve`, from a moment on at which Ctrl-C is already heeded."""

import signal
import sys
from types import FrameType

from llama_chatbot.launch import bootstrap


def end(number: int, frame: FrameType | None) -> None:
    """End without a word: nothing has been started yet."""
    sys.exit(0)


if __name__ == "__main__":
    for each in bootstrap.ending_signals():
        signal.signal(each, end)
    from llama_chatbot.launch import serve  # takes half a second, with what it imports

    sys.exit(serve.main())
