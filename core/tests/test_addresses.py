"""Whose address a request has, behind proxies and without."""

import pytest
from django.test import RequestFactory

from accounts.models import Session
from core.addresses import client_address, client_network
from core.errors import ApiError
from testing.answers import error_of
from testing.people import PASSWORD, Caller, create_user
from testing.processes import StartServer


@pytest.mark.parametrize(
    ("text", "address", "network"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7", "203.0.113.7"),
        ("  203.0.113.7 ", "203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:4711", "203.0.113.7", "203.0.113.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:DB8:0:1:0:0:0:8", "2001:db8:0:1::8", "2001:db8:0:1::/64"),
        ("[2001:db8:0:2::7]", "2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("[2001:db8:0:2::7]:4711", "2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
        ("::1", "::1", "::/64"),
    ],
)
def test_every_form_of_an_address_is_counted_by_its_network(
    text: str, address: str, network: str
) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR=text)

    assert client_address(request) == address
    assert client_network(request) == network


@pytest.mark.parametrize(
    "text", ["", "unknown", "_hidden", "203.0.113", "203.0.113.700", "[::1", "1:2", "é", "a, b"]
)
def test_an_address_that_is_none_is_an_error(text: str) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR=text)

    with pytest.raises(ApiError, match="X-Forwarded-For"):
        client_network(request)


def test_a_proxys_invalid_address_is_a_clear_error(nobody: Caller) -> None:
    create_user("staff", is_staff=True)
    nobody.headers["X-Forwarded-For"] = "unknown"
    body = {"username": "staff", "password": PASSWORD}

    answers = [
        nobody.post("/auth/login/", json=body),
        nobody.get("/auth/status/"),
        nobody.post("/auth/register/", json={**body, "email": "x@example.com"}),
    ]
    nobody.headers.update({"Cookie": f"csrftoken={'f' * 32}", "X-CSRFToken": "f" * 32})
    answers.append(nobody.post("/admin/login/", data=body))

    for answer in answers:
        assert "X-Forwarded-For" in error_of(answer, 400, "invalid")["error"]


def test_a_user_who_is_logged_in_needs_no_valid_address(ann: Caller) -> None:
    ann.headers["X-Forwarded-For"] = "unknown"

    assert ann.get("/chat/threads/").status_code == 200


@pytest.mark.parametrize(
    ("named", "address"), [("127.0.0.1", "203.0.113.7"), ("192.0.2.1", "127.0.0.1")]
)
def test_only_a_proxy_that_the_settings_name_is_believed(
    start_server: StartServer, named: str, address: str
) -> None:
    server = start_server(FORWARDED_ALLOW_IPS=named)
    create_user("carl")
    nobody = Caller(server.url)
    nobody.headers["X-Forwarded-For"] = "198.51.100.1, 203.0.113.7"  # the last is the proxy's own
    nobody.headers["X-Forwarded-Proto"] = "https"

    answer = nobody.post("/auth/login/", json={"username": "carl", "password": PASSWORD})

    assert answer.status_code == 200
    assert Session.objects.get().get_decoded()["ip_address"] == address
    assert ("Strict-Transport-Security" in answer.headers) == (named == "127.0.0.1")
