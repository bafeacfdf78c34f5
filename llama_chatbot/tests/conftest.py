"""The fixtures of several tests of the launcher."""

from pathlib import Path

import pytest

from llama_chatbot.tests.clones import make_clone


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small copy of the repository."""
    return make_clone(tmp_path)
