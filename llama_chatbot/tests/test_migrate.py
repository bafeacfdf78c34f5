"""`manage.py migrate`, run by several at once on an empty database."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.environment import ENVIRONMENT
from testing.processes import ROOT, PostgreSQL

AT_ONCE = 4


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a database without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/db.sqlite3"
        return
    if PostgreSQL.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgreSQL() as postgresql:
        yield postgresql.url


def start_migrating(database_url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "migrate"],
        cwd=ROOT,
        env={**ENVIRONMENT, "DATABASE_URL": database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_of_several_at_once_one_migrates_and_the_others_find_it_done(database_url: str) -> None:
    processes = [start_migrating(database_url) for _ in range(AT_ONCE)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]

    assert [process.returncode for process in processes] == [0] * AT_ONCE, outputs
    done = [output for output in outputs if "Applying" in output]
    idle = [output for output in outputs if "No migrations to apply" in output]
    assert (len(done), len(idle)) == (1, AT_ONCE - 1)
    assert done[0].count("chat.0001_initial... OK") == 1
