"""Hand-written SQL stands in the apps' statements.py, each statement with an ORM twin in a test."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

from testing.processes import ROOT

APPS = ["accounts", "chat"]

# A call of one of these runs SQL; `execute` is that of a cursor, or of core/sql.py.
RUNS_SQL = {"raw", "extra", "RawSQL", "cursor", "execute", "execute_many", "executemany"}
ALLOWED = {
    "accounts/statements.py",
    "chat/statements.py",
    "core/sql.py",  # runs the statements
    "llama_chatbot/health.py",  # asks for no table
}


def runs_sql(file: Path) -> bool:
    """Return whether a file runs SQL, by its syntax tree."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    return any(getattr(c.func, "attr", getattr(c.func, "id", "")) in RUNS_SQL for c in calls)


def test_sql_is_written_by_hand_in_statements_alone() -> None:
    packages = {file.parent for file in ROOT.glob("*/__init__.py")}
    packages -= {ROOT / name for name in ("benchmarks", "local_model", "testing")}
    files = [file.relative_to(ROOT) for package in packages for file in package.rglob("*.py")]
    code = [file for file in files if not {"tests", "migrations"}.intersection(file.parts)]

    assert {str(file) for file in code if runs_sql(ROOT / file)} == ALLOWED


@pytest.mark.parametrize("app", APPS)
def test_each_statement_has_a_test_that_begins_with_its_name(app: str) -> None:
    statements = import_module(f"{app}.statements")
    tests = vars(import_module(f"{app}.tests.test_statements"))
    names = [
        name
        for name, function in inspect.getmembers(statements, inspect.isfunction)
        if function.__module__ == statements.__name__
    ]

    assert names
    assert [n for n in names if not any(test.startswith(f"test_{n}_") for test in tests)] == []
