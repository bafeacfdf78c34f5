"""The short form of all benchmarks: each must run and print its result."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.__main__ import BEGIN, END, NAMES, Row, table, write_page
from benchmarks.process import cpu_seconds, resident_bytes
from benchmarks.result import Result, percentile
from testing.fixtures.browsers import PROGRAM
from testing.processes import ROOT, Memcached


@pytest.fixture(scope="module")
def quick() -> Iterator[subprocess.CompletedProcess[str]]:
    if not Memcached.available():
        pytest.skip("no memcached program is installed")
    if PROGRAM is None:
        pytest.skip("no chromium is installed")
    before = benchmarks.PAGE.read_text()
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    yield subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert benchmarks.PAGE.read_text() == before


def test_every_benchmark_prints_what_it_measured(quick: subprocess.CompletedProcess[str]) -> None:
    assert quick.returncode == 0, quick.stderr
    rows = [line.split(" | ") for line in quick.stdout.splitlines()][2:]
    assert len(rows) == len(NAMES), quick.stdout
    for what, measured, goal, verdict in rows:
        assert re.search(r"\d", measured), f"{what}: {measured}"
        assert goal
        assert verdict == "- |"  # a minute on a busy machine proves nothing


def test_a_benchmark_that_breaks_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmarks, "NAMES", ("of_nothing", "neither"))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick"])
    assert benchmarks.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| of nothing", "| neither"]
    assert all("**error**" in line for line in lines[2:])


def test_a_missed_goal_is_shown() -> None:
    rows = [Row("a", "less", Result("5", False)), Row("b", "less", Result("1", True))]
    assert table(rows, quick=False)[2:] == [
        "| a | 5 | less | **missed** |",
        "| b | 1 | less | met |",
    ]


def test_a_new_table_replaces_only_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Above.\n\n{BEGIN}\nold\n{END}\n\nBelow.\n")
    monkeypatch.setattr(benchmarks, "PAGE", page)
    for _ in range(2):
        write_page(["new"])
    assert page.read_text() == f"Above.\n\n{BEGIN}\n\nnew\n\n{END}\n\nBelow.\n"


def test_a_percentile_is_one_of_the_values() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]
    assert percentile(hundred, 50) == 50
    assert percentile(hundred, 99) == 99
    assert percentile([7.0], 99) == 7


def test_cpu_time_and_memory_are_those_of_the_process() -> None:
    program = "import time; x = b'1' * 50_000_000; t = time.process_time()\n"
    program += "while time.process_time() < t + 0.5: pass\nprint('used', flush=True); input()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        used = cpu_seconds(process.pid)
        held = resident_bytes(process.pid)
        time.sleep(0.3)
        assert cpu_seconds(process.pid) - used < 0.1  # it sleeps
        process.communicate(b"\n")
    assert 0.4 < used < 5
    assert 50_000_000 < held < 100_000_000
