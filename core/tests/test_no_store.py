"""`Cache-Control`: nobody keeps a copy of what is private."""

import pytest

from testing.people import Caller
from testing.routes import Route, every_route
from testing.streams import SSE


@every_route
def test_no_answer_of_the_api_is_stored(ann: Caller, route: Route) -> None:
    with ann.stream(route.method, route.path) as answer:  # one of them never ends
        pass

    assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/health/ready/", "/nowhere/", "/admin/login/", "/admin/"])
def test_no_other_answer_is_stored(staff: Caller, path: str) -> None:
    assert "no-store" in staff.get(path).headers["Cache-Control"]


def test_no_stream_is_stored_or_changed_on_the_way(ann: Caller) -> None:
    answer = ann.say(ann.thread(), headers=SSE)

    assert answer.headers["Cache-Control"] == "no-store, no-transform"


def test_static_files_may_be_kept(nobody: Caller) -> None:
    answer = nobody.get("/static/admin/css/base.css")

    assert "no-store" not in answer.headers["Cache-Control"]
