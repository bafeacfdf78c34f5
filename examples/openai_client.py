"""Hold a conversation with OpenAI's client. It is a thread, which the chat API shows as well.

    pip install openai
    LLAMA_TOKEN=llama_1f0c… python examples/openai_client.py "Why is the sky blue?" "And at night?"

If the server dies or restarts in mid-answer, the answer goes on where it was.
"""

import os
import sys
import time

import httpx
from openai import APIConnectionError, InternalServerError, OpenAI

SERVER = os.environ.get("LLAMA_SERVER", "http://127.0.0.1:8000")
TOKEN = os.environ.get("LLAMA_TOKEN") or sys.exit("Set LLAMA_TOKEN to a token of yours.")
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0  # seconds before the server is called again
MOST_TRIES = 10  # without anything new in between

client = OpenAI(base_url=f"{SERVER}/v1", api_key=TOKEN)


def ask(question: str, previous_id: str | None) -> str:
    """Write the answer to a question as it comes, and return its id."""
    answer_id, last_event, tries = "", -1, 0
    while True:
        try:
            if answer_id:
                events = client.responses.retrieve(
                    answer_id, stream=True, starting_after=last_event
                )
            else:
                events = client.responses.create(
                    input=question, previous_response_id=previous_id, stream=True
                )
            for event in events:
                tries, last_event = 0, event.sequence_number
                if event.type == "response.created":
                    answer_id = event.response.id
                elif event.type == "response.output_text.delta":
                    print(event.delta, end="", flush=True)
                elif event.type == "response.failed":
                    error = event.response.error
                    sys.exit(error.message if error else "The answer failed.")
                elif event.type in ("response.completed", "response.incomplete"):
                    print()
                    return answer_id
        except (APIConnectionError, InternalServerError, httpx.TransportError):
            if not answer_id or tries == MOST_TRIES:
                raise
        time.sleep(min(FIRST_PAUSE * 2**tries, LONGEST_PAUSE))
        tries += 1


if __name__ == "__main__":
    before = None
    for each in sys.argv[1:] or ["Hello!"]:
        before = ask(each, before)
