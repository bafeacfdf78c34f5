"""POST /auth/logout/: the end of a session."""

from testing.answers import cookie_of
from testing.people import Caller, is_logged_in


def test_a_logout_ends_this_session_and_no_other(ann: Caller) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)

    answer = ann.post("/auth/logout/")

    assert answer.status_code == 200
    assert answer.json() == {"message": "Logout successful"}
    assert cookie_of(answer)["max-age"] == "0"
    assert not is_logged_in(ann)  # though the cookie is sent still
    assert is_logged_in(elsewhere)


def test_a_logout_without_a_session_gets_the_same_answer(nobody: Caller) -> None:
    answer = nobody.post("/auth/logout/")

    assert answer.status_code == 200
    assert answer.json() == {"message": "Logout successful"}
