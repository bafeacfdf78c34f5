"""The systemd unit does what docs/production.md says of it."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from testing.processes import ROOT, Server

UNIT = (ROOT / "deploy" / "llama-chatbot@.service").read_text()
SITE = (ROOT / "deploy" / "nginx.conf").read_text()
READY = shlex.split(re.findall("^ExecStartPost=(.*)", UNIT, re.MULTILINE)[0])


def test_a_unit_may_open_a_file_for_each_of_a_thousand_streams_and_one_for_its_call() -> None:
    others = 256  # listeners, the database, Memcached, the log, files of its own

    (files,) = re.findall(r"^LimitNOFILE=(\d+)", UNIT, re.MULTILINE)
    assert int(files) >= 2 * 1000 + others


@pytest.mark.skipif(not Path(READY[0]).exists(), reason="curl is not there")
def test_a_units_start_is_over_when_the_process_serves(
    server_environment: dict[str, str], tmp_path: Path
) -> None:
    """As `Upgrade` in docs/production.md counts on: one restarts when the other is back."""
    server = Server(tmp_path, server_environment)
    command = [each.replace("%i", str(server.port)) for each in READY]
    with subprocess.Popen(command) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(2)  # nothing listens yet
        with server:
            assert waiting.wait(30) == 0
            assert server.url in " ".join(command)


def test_a_unit_serves_on_the_port_that_names_it() -> None:
    assert "--port %i" in UNIT
    assert READY[-1] == "http://127.0.0.1:%i/health/live/"
    assert "--workers" not in UNIT


def test_the_units_of_the_page_on_production_are_those_of_the_site() -> None:
    page = (ROOT / "docs" / "production.md").read_text()
    ports = set(re.findall(r"llama-chatbot@(\d+)", page))

    assert len(ports) > 1
    assert set(re.findall(r"^\s*server 127\.0\.0\.1:(\d+)", SITE, re.MULTILINE)) == ports
    assert page.count("systemctl restart llama-chatbot@") >= len(ports)
