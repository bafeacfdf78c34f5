"""Hand-written SQL stands in few modules, each statement with a twin in a test."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

from testing.processes import ROOT

# Modules with hand-written SQL, each with the name by which the tests of its statements call it.
MODULES = {
    "accounts.statements": "statements",
    "chat.search.database": "database",
    "chat.statements.messages": "statements",
    "chat.statements.replies": "statements",
    "chat.statements.threads": "statements",
    "chat.statements.tree": "statements",
}
WITHOUT_TWIN = {"install"}  # runs scripts, for which the ORM has no words

# A call of one of these runs SQL: the querysets', a cursor's, or core/sql.py's.
RUNS_SQL = {
    "raw",
    "extra",
    "RawSQL",
    "cursor",
    "execute",
    "execute_many",
    "executemany",
    "column",
    "rows",
}
ALLOWED = {
    "accounts/statements.py",
    "chat/search/database.py",  # the index of words, for which the ORM has no words
    "chat/statements/messages.py",
    "chat/statements/replies.py",
    "chat/statements/threads.py",
    "chat/statements/tree.py",
    "core/locks.py",  # takes a lock, for which the ORM has no words
    "core/sql.py",  # runs the statements
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


@pytest.mark.parametrize("path", MODULES)
def test_each_statement_is_tried_beside_its_twin(path: str) -> None:
    """In a module `test_statements.py`, or `test_..._statements.py`, of its app."""
    app = path.partition(".")[0]
    module = import_module(path)
    functions = inspect.getmembers(module, inspect.isfunction)
    names = {name for name, function in functions if function.__module__ == path}
    tried = {
        node.attr
        for file in (ROOT / app / "tests").glob("test*_statements.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == MODULES[path]
    }

    public = {name for name in names if not name.startswith("_")} - WITHOUT_TWIN
    assert public
    assert public - tried == set()
