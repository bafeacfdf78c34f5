"""Which tests start processes, and what a skipped one means.

A test that starts a process, itself or by a fixture, gets the marker `process`: `make test-fast`
runs the others. Nobody sets the marker by hand, and a test without it that starts a process fails.
"""

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

# Whichever fixture starts a process needs one of these.
PROCESS_FIXTURES = {"bundled_model", "memcached", "postgresql", "server_environment"}

_forbidden_for: str | None = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if starts_processes(item):
            item.add_marker("process")


def starts_processes(item: pytest.Item) -> bool:
    """Return whether a test's fixtures start processes, or its module may."""
    uses = PROCESS_FIXTURES.intersection(getattr(item, "fixturenames", ()))
    return bool(uses) or hasattr(item.module, "subprocess")  # type: ignore[attr-defined]


def refuse_processes(event: str, args: tuple[Any, ...]) -> None:
    """Fail a test that starts a process although it seemed to start none."""
    if event == "subprocess.Popen" and _forbidden_for:
        pytest.fail(f"{_forbidden_for} starts a process, and has not the marker for it: {args[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    global _forbidden_for
    _forbidden_for = None if item.get_closest_marker("process") else item.nodeid
    try:
        return (yield)
    finally:
        _forbidden_for = None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "process: starts a process, by itself or by a fixture")
    sys.addaudithook(refuse_processes)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Where everything must run, a test that could not is a failure."""
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("CI is set, and tests were skipped: see above", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and not exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
