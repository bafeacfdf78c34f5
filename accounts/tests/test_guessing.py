"""The limits of login and registration, which hold passwords against guessing."""

from itertools import pairwise
from random import SystemRandom
from uuid import uuid4

import httpx

from accounts.models import User
from testing.answers import error_of
from testing.people import PASSWORD, Caller, create_user, is_logged_in
from testing.processes import Memcached, Server, StartServer
from testing.waiting import wait_until

randrange = SystemRandom().randrange  # the other is seeded, the same for each run

CARL = {"username": "carl", "email": "carl@example.com", "password": PASSWORD}


def addresses(number: int) -> list[str]:
    """Return addresses of clients that no other test has used: Memcached remembers."""
    return [f"2001:db8:{randrange(2**16):x}:{randrange(2**16):x}::7" for _ in range(number)]


def log_in(caller: Caller, name: str, password: str = "wrong") -> httpx.Response:
    return caller.post("/auth/login/", json={"username": name, "password": password})


def test_guesses_at_an_account_count_together_under_all_its_names(
    start_server: StartServer,
) -> None:
    server = start_server(RATE_LIMIT_LOGIN_ACCOUNT="1/h")
    create_user("carl")
    caller = Caller(server.url)

    guess, right = log_in(caller, "CARL"), log_in(caller, "carl@Example.com", PASSWORD)
    name = f"nobody-{uuid4()}"  # Memcached remembers those of other tests
    unknown, again = log_in(caller, name), log_in(caller, name.upper())

    error_of(guess, 400, "invalid")
    error_of(right, 429, "rate_limited")  # before the password is looked at
    assert 0 < int(right.headers["Retry-After"]) <= 3600
    assert right.headers["RateLimit-Limit"] == "1"
    assert right.headers["RateLimit-Remaining"] == "0"
    error_of(unknown, 400, "invalid")  # a name that nobody has is limited just so
    error_of(again, 429, "rate_limited")


def test_the_remaining_calls_do_not_tell_which_name_has_which_address(server: Server) -> None:
    create_user("carl", email="carl.private@example.com")
    caller = Caller(server.url)

    first, second = log_in(caller, "carl"), log_in(caller, "carl.private@example.com")
    third, fourth = log_in(caller, f"nobody-{uuid4()}"), log_in(caller, f"{uuid4()}@example.com")

    left = [int(answer.headers["RateLimit-Remaining"]) for answer in (first, second, third, fourth)]
    assert len({earlier - later for earlier, later in pairwise(left)}) == 1


def test_nobody_is_locked_out_for_longer_than_the_window(start_server: StartServer) -> None:
    server = start_server(RATE_LIMIT_LOGIN_ACCOUNT="1/4s")
    create_user("carl")
    guesser, carl = Caller(server.url), Caller(server.url)
    wait_until(lambda: log_in(guesser, "carl").status_code == 429, timeout=12)
    for _ in range(20):  # as often as one likes: it does not make the window longer
        log_in(guesser, "carl")

    wait_until(lambda: log_in(carl, "carl", PASSWORD).status_code == 200, timeout=12)


def test_passwords_are_not_guessed_with_a_session_either(start_server: StartServer) -> None:
    server = start_server(RATE_LIMIT_LOGIN_ACCOUNT="1/h")
    carl = Caller(server.url, create_user("carl"))

    wrong = {"old_password": "wrong", "new_password": "a-n3w-password"}
    first = carl.post("/auth/password/change/", json=wrong)
    second = carl.post("/auth/password/change/", json=wrong)
    third = carl.request("DELETE", "/auth/delete/", json={"password": PASSWORD})
    fourth = carl.post("/auth/tokens/", json={"name": "t", "days": 1, "password": PASSWORD})

    error_of(first, 400, "invalid")
    for refused in (second, third, fourth):
        error_of(refused, 429, "rate_limited")


def test_each_address_is_counted_alone_and_each_mailbox_for_all(start_server: StartServer) -> None:
    limits = ("LOGIN", "REGISTER", "PASSWORD_RESET")
    server = start_server(**{f"RATE_LIMIT_{limit}": "1/h" for limit in limits})
    calls = {
        "login": {"username": "nobody", "password": "wrong"},
        "register": {"username": "", "email": "", "password": ""},
        "password/reset": {"email": f"{uuid4()}@example.com"},
    }
    one, other = Caller(server.url), Caller(server.url)
    one.headers["X-Forwarded-For"], other.headers["X-Forwarded-For"] = addresses(2)

    first, second, of_other = (
        [caller.post(f"/auth/{call}/", json=body) for call, body in calls.items()]
        for caller in (one, one, other)
    )

    assert [answer.status_code for answer in first] == [400, 400, 200]
    for answer in second:
        error_of(answer, 429, "rate_limited")
    # Only the mailbox is counted whoever asks.
    assert [answer.status_code for answer in of_other] == [400, 400, 429]


def test_without_memcached_login_is_refused_and_sessions_go_on(start_server: StartServer) -> None:
    with Memcached() as memcached:
        server = start_server(CACHE_LOCATION=memcached.location)
        ann, nobody = Caller(server.url, create_user("ann")), Caller(server.url)
        memcached.kill()

        login = log_in(nobody, "ann", PASSWORD)
        registration = nobody.post("/auth/register/", json=CARL)
        reset = nobody.post("/auth/password/reset/", json={"email": "ann@example.com"})
        change = ann.post("/auth/email/change/", json={"email": "new@example.com"})
        status, usage = ann.get("/auth/status/"), ann.get("/auth/usage/")

        for refused in (login, registration, reset, change):
            error_of(refused, 503, "unavailable")
        assert not User.objects.filter(username="carl").exists()
        assert status.json()["authenticated"]
        assert usage.status_code == 200

        User.objects.get(username="ann").end_sessions()
        assert not is_logged_in(ann)  # no cache keeps a session alive

        memcached.start()
        wait_until(lambda: log_in(nobody, "ann", PASSWORD).status_code == 200)
