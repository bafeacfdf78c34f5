"""OpenAI's own client."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from testing.people import Caller, token_of
from testing.processes import Server


@pytest.fixture
def openai(server: Server, ann: Caller) -> Iterator[OpenAI]:
    """OpenAI's client, with a token of Ann's for its key."""
    with OpenAI(base_url=f"{server.url}/v1", api_key=token_of(ann), max_retries=0) as client:
        yield client
