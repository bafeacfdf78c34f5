"""Passwords are hashed in threads of their own, for which few calls wait."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from testing.admin import Browser
from testing.people import PASSWORD, Caller, create_user
from testing.processes import Server, StartServer

WRONG = {"username": "nobody", "password": "wrong"}


@pytest.fixture
def slow(start_server: StartServer) -> Server:
    """A server that hashes as in production: for half a second."""
    return start_server(DJANGO_SETTINGS_MODULE="llama_chatbot.settings")


def test_more_logins_than_can_be_handled_are_refused_while_others_go_on(slow: Server) -> None:
    ann = Caller(slow.url, create_user("ann"))

    def log_in(number: int) -> int:
        with Caller(slow.url) as caller:
            body = {"username": f"nobody{number}", "password": "wrong"}
            answer = caller.post("/auth/login/", json=body)
            if answer.status_code == 503:
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.json()["code"] == "unavailable"
            return answer.status_code

    with ThreadPoolExecutor(40) as threads:
        logins = [threads.submit(log_in, number) for number in range(40)]
        waits = []
        while not all(login.done() for login in logins):
            began = time.monotonic()
            assert ann.get("/chat/threads/").status_code == 200
            waits.append(time.monotonic() - began)
        statuses = Counter(login.result() for login in logins)

    assert set(statuses) == {400, 503}
    assert 8 <= statuses[400] < 40
    waits.sort()
    assert waits[len(waits) // 2] < 0.2  # though all processors are busy


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/register/", {"username": "x", "email": "x@example.com", "password": PASSWORD}),
        ("/auth/password/change/", {"old_password": PASSWORD, "new_password": PASSWORD}),
        ("/auth/email/change/", {"email": "x@example.com", "password": PASSWORD}),
        ("/auth/tokens/", {"name": "x", "days": 1, "password": PASSWORD}),
        ("/auth/password/reset/confirm/", {"uid": "x", "token": "x", "new_password": PASSWORD}),
        ("/admin/login/", None),
        ("/admin/password_change/", None),
        ("/admin/accounts/user/add/", None),
        ("/admin/accounts/user/1/password/", None),
    ],
)
def test_every_call_that_hashes_a_password_waits_there(
    slow: Server, path: str, body: dict[str, object] | None
) -> None:
    root = Browser(slow.url, create_user("root", is_staff=True, is_superuser=True))
    nobody = Caller(slow.url)

    def answer() -> int:
        if body is None:
            return root.post(path, data={"username": "root", "password": "x"}).status_code
        return root.post(path, json=body).status_code

    with ThreadPoolExecutor(10) as threads:
        logins = [threads.submit(nobody.post, "/auth/login/", json=WRONG) for _ in range(10)]
        while not any(login.done() and login.result().status_code == 503 for login in logins):
            time.sleep(0.01)
        assert answer() == 503
        assert {login.result().status_code for login in logins} == {400, 503}


def test_what_needs_no_password_does_not_wait(slow: Server) -> None:
    ann, nobody = Caller(slow.url, create_user("ann")), Caller(slow.url)

    with ThreadPoolExecutor(10) as threads:
        logins = [threads.submit(nobody.post, "/auth/login/", json=WRONG) for _ in range(10)]
        while not any(login.done() and login.result().status_code == 503 for login in logins):
            time.sleep(0.01)
        token = ann.post("/auth/tokens/", json={"name": "x", "days": 1})
        email = ann.post("/auth/email/change/", json={"email": "new@example.com"})
        deletion = ann.delete("/auth/delete/")

    assert [token.status_code, email.status_code, deletion.status_code] == [201, 200, 200]
