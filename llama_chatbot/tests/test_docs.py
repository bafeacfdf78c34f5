"""What the docs say of the project can be checked: links, paths, calls, and the version."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_chatbot.api import api
from testing.processes import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

# A path in backticks, such as `chat/models.py`; those with a room of ours in front are checked.
PATH = re.compile(r"`((?:[a-z_.]+/)+(?:[a-zA-Z_.-]+\.[a-z]+)?)`")
ROOMS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}

LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)\s]+)\)")


def without_code(page: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in LINK.findall(without_code(path.read_text())):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_path_of_the_project_exists(path: Path) -> None:
    for name in PATH.findall(without_code(path.read_text())):
        if name.partition("/")[0] in ROOMS:
            assert (ROOT / name).exists(), name


def calls_of_the_api() -> set[tuple[str, str]]:
    """Return the method and path of each call, with `<>` for what varies."""
    return {
        (method.upper(), re.sub(r"\{[^}]*\}", "<>", path))
        for path, operations in api.get_openapi_schema()["paths"].items()
        for method in operations
        if method != "head"
    }


def documented_calls() -> Iterator[tuple[str, str]]:
    """Yield the method and path of each call in the table of docs/api.md.

    Several methods of one path stand in a row: `GET`, `PATCH /chat/threads/<id>/`.
    """
    table = (ROOT / "docs" / "api.md").read_text().partition("## The calls")[2].partition("##")[0]
    methods: list[str] = []
    for cell in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE):
        for code in re.findall("`([^`]+)`", cell):
            method, _, path = code.partition(" ")
            methods.append(method)
            if path:
                for method in methods:
                    yield method, re.sub("<[^>]*>", "<>", path)
                methods = []


def test_the_table_of_calls_has_every_call_and_no_other() -> None:
    documented = list(documented_calls())

    assert len(set(documented)) == len(documented)
    assert set(documented) == calls_of_the_api()


def test_the_changelog_has_the_version_that_is_developed() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    released = re.findall(r"^## (\d+\.\d+\.\d+)\b", (ROOT / "CHANGELOG.md").read_text(), re.M)

    assert released[0] == version
