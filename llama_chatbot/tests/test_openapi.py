"""The OpenAPI document, from which front ends make their clients: it changes on purpose only."""

import json
from pathlib import Path

import pytest

from testing.people import Caller

SNAPSHOT = Path(__file__).with_name("openapi.json")


def test_the_document_is_the_one_in_the_snapshot(nobody: Caller) -> None:
    document = nobody.get("/openapi.json").json()

    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        pytest.fail(f"{SNAPSHOT.name} was written anew: look at it before it is committed")
    assert document == json.loads(SNAPSHOT.read_text()), (
        "the API has changed; if it should, delete openapi.json and run this test twice"
    )


def test_the_page_about_it_can_be_read_by_anybody(nobody: Caller) -> None:
    answer = nobody.get("/docs/")

    assert answer.status_code == 200
    assert "openapi.json" in answer.text
