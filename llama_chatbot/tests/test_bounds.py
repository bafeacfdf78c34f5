"""What a client may hold open where no proxy stands in front: time and bytes are bounded."""

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from llama_chatbot.request_body import MAX_BODY_BYTES, MAX_HELD_BYTES
from testing.people import Caller
from testing.processes import Server, StartServer
from testing.waiting import wait_until

GET = b"GET /auth/status/ HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /auth/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LARGE_FILE = b"GET /static/admin/js/vendor/xregexp/xregexp.js HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def impatient(
    server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Two workers whose time-outs are short."""
    directory: Path = tmp_path_factory.mktemp("impatient")
    environment = {**server_environment, "SECURE_SSL_REDIRECT": "false"}
    with Server(
        directory, environment, workers=2, application="testing.impatient:application"
    ) as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def answer_on(connection: socket.socket) -> http.client.HTTPResponse:
    """Return the next answer on a connection, whose body can be read from it."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer


def error_on(connection: socket.socket) -> tuple[int, str]:
    """Return the status and the code of an error, after which the connection is closed."""
    answer = answer_on(connection)
    body = json.loads(answer.read())
    assert answer.headers["Connection"] == "close"
    assert connection.recv(1) == b""
    return answer.status, body["code"]


def test_a_connection_without_a_request_is_closed(impatient: Server) -> None:
    with closing(connect(impatient)) as connection:
        assert connection.recv(1) == b""


def test_empty_lines_before_a_request_do_not_keep_it_open(impatient: Server) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(b"\r\n")

        assert error_on(connection) == (408, "request_timeout")


def test_half_sent_headers_time_out(impatient: Server) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(GET)

        assert error_on(connection) == (408, "request_timeout")


def test_headers_that_come_byte_by_byte_time_out(impatient: Server) -> None:
    with closing(connect(impatient)) as connection:
        began = time.monotonic()
        connection.sendall(GET)
        with suppress(OSError):  # until it is closed
            while time.monotonic() - began < 10:
                connection.sendall(b"X")
                time.sleep(0.1)  # so that no time-out between two bytes would do

        assert time.monotonic() - began < 5


def test_the_headers_of_a_connections_second_request_time_out_too(impatient: Server) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(GET + b"\r\n")
        assert b"User is not logged in" in answer_on(connection).read()
        connection.sendall(GET)

        assert error_on(connection) == (408, "request_timeout")


@pytest.mark.parametrize("size", [70_000, 5_000_000])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["unfinished", "finished"])
def test_headers_over_64_kib_are_refused(impatient: Server, size: int, end: bytes) -> None:
    with closing(connect(impatient)) as connection:
        with suppress(OSError):  # it is refused before all is sent
            connection.sendall(GET + b"X-Large: " + b"x" * size + end)
        try:
            assert error_on(connection) == (431, "headers_too_large")
        except ConnectionResetError:
            assert size > 1_000_000  # what was still under way resets the connection


def test_headers_of_60_kib_are_taken(impatient: Server) -> None:
    answer = httpx.get(f"{impatient.url}/auth/status/", headers={"X-Large": "x" * 60_000})

    assert answer.status_code == 200


def test_what_is_not_http_is_refused_in_the_shape_of_all_errors(impatient: Server) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(b"hello\r\n\r\n")

        assert error_on(connection) == (400, "invalid")


@pytest.mark.parametrize("sent", [b"", b"{"], ids=["no byte", "one byte"])
def test_a_body_that_stops_coming_times_out(impatient: Server, sent: bytes) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(POST + b"Content-Length: 100\r\n\r\n" + sent)

        assert error_on(connection) == (408, "request_timeout")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")
def test_a_reader_that_stalls_is_cut_off(impatient: Server) -> None:
    def open_files() -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in impatient.worker_pids())

    before = open_files()
    with closing(connect(impatient)) as connection:
        # More than the buffers of both sides take.
        connection.sendall(40 * LARGE_FILE)  # more than the buffers of both sides take
        wait_until(lambda: open_files() > before)

        wait_until(lambda: open_files() <= before, 10, "it is still open")


def test_stalled_bodies_hold_no_more_than_so_many_bytes(
    server_environment: dict[str, str], tmp_path: Path
) -> None:
    """The oldest give way, and others are served meanwhile."""
    head = POST + b"Content-Length: %d\r\n\r\n" % MAX_BODY_BYTES
    number = 2 * MAX_HELD_BYTES // MAX_BODY_BYTES
    with Server(tmp_path, server_environment) as server:
        connections = [connect(server) for _ in range(number)]
        try:
            for connection in connections:
                connection.sendall(head + b" " * (MAX_BODY_BYTES - 1))

            for connection in connections[: number // 4]:
                assert error_on(connection) == (408, "request_timeout")
            with Caller(server.url) as nobody:
                assert nobody.get("/auth/status/").status_code == 200
            connections[-1].sendall(b"{")
            assert b"invalid_json" in answer_on(connections[-1]).read()
        finally:
            for connection in connections:
                connection.close()


def test_a_request_that_comes_with_the_end_of_the_process_is_answered(
    start_server: StartServer,
) -> None:
    server = start_server()
    with closing(connect(server)) as connection, closing(connect(server)) as silent:
        connection.sendall(GET)  # half of it
        httpx.get(f"{server.url}/health/live/")  # accepted after them, so they are as well
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: not server.takes_connections)

        connection.sendall(b"\r\n")
        answer = answer_on(connection)

        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert silent.recv(1) == b""
    wait_until(lambda: not server.running)
