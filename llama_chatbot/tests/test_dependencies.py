"""The third-party packages: imported ones are pinned, pinned ones are documented."""

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from llama_chatbot.tests.source import python_files
from testing.processes import ROOT

SERVER, MODEL, DEV = "requirements.txt", "requirements-model.txt", "requirements-dev.txt"

# Where that may be pinned which the code of a directory imports; all other code, and above all the
# server's, has SERVER alone.
FILES_BY_DIRECTORY = {
    "local_model": (SERVER, MODEL),
    **dict.fromkeys(("tests", "testing", "benchmarks", "examples"), (SERVER, MODEL, DEV)),
}


def canonical(package: str) -> str:
    """Return a package's name as pip compares it, without its extras."""
    return re.sub("[-_.]+", "-", package.partition("[")[0]).lower()


def pinned(file: str) -> set[str]:
    """Return the packages that a requirements file pins."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    requirements = [line for line in lines if line and not line.startswith("-r")]
    assert all("==" in requirement for requirement in requirements), requirements
    return {canonical(requirement.partition("==")[0]) for requirement in requirements}


def documented() -> set[str]:
    """Return the packages that docs/dependencies.md has a line for."""
    page = (ROOT / "docs" / "dependencies.md").read_text()
    cells = re.findall(r"^\| (?!package|---)([^|]+) \|", page, re.MULTILINE)
    return {canonical(name) for cell in cells for name in cell.split(", ")}


def imports(path: Path) -> set[str]:
    """Return the top-level modules that a file imports, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(node.module or "")
    return {module.partition(".")[0] for module in modules}


@cache
def packages_of_modules() -> dict[str, set[str]]:
    """Return the installed packages that bring each top-level module."""
    return {
        module: set(map(canonical, packages))
        for module, packages in packages_distributions().items()
    }


def third_party_imports() -> list[tuple[str, str]]:
    """Return each directory of the project with each third-party module that it imports."""
    own = {path.partition("/")[0].removesuffix(".py") for path in python_files()}
    found = set()
    for path in python_files():
        is_test = "/tests/" in path or path == "conftest.py"
        directory = "tests" if is_test else path.partition("/")[0]
        for module in imports(ROOT / path) - own - sys.stdlib_module_names:
            found.add((directory, module))
    return sorted(found)


@pytest.mark.parametrize(("directory", "module"), third_party_imports())
def test_what_is_imported_is_pinned_where_it_is_used(directory: str, module: str) -> None:
    files = FILES_BY_DIRECTORY.get(directory, (SERVER,))
    packages = packages_of_modules().get(module, {module})

    assert any(packages & pinned(file) for file in files), f"pin {packages} in one of {files}"


def test_no_package_is_pinned_in_two_files() -> None:
    assert not pinned(SERVER) & pinned(MODEL)
    assert not pinned(SERVER) & pinned(DEV)
    assert not pinned(MODEL) & pinned(DEV)


def test_every_pinned_package_is_documented_and_no_other() -> None:
    assert documented() == pinned(SERVER) | pinned(MODEL) | pinned(DEV)
