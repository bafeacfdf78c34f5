"""docs/architecture.md names every module, and what it names is there."""

import re
import tomllib
from collections import Counter

import pytest

from chat.replies import lifecycle
from llama_chatbot.tests.source import python_files
from testing.processes import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()

NOT_NAMED = re.compile(r"(^|/)(tests|migrations|examples)/|(^|/)__init__\.py$|^[a-z]+\.py$")


def section(heading: str) -> str:
    """Return what stands under a heading, up to the next one."""
    _, _, rest = PAGE.partition(f"\n{heading}\n")
    return re.split(r"^##", rest, maxsplit=1, flags=re.MULTILINE)[0]


def modules_named() -> list[str]:
    """Return the path of each module in the tables, from the root of the project."""
    named = []
    for directory in re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE):
        for cell in re.findall(r"^\| (`.*?`) \|", section(f"### `{directory}`"), re.MULTILINE):
            named += [directory + name for name in re.findall("`([^`]+)`", cell)]
    return named


def test_every_module_is_named_once_and_no_other() -> None:
    modules = {path for path in python_files() if not NOT_NAMED.search(path)}

    assert Counter(modules_named()) == Counter(modules)


@pytest.mark.parametrize("row", re.findall(r"^\| (.*\?.*) \|$", section("## Where to look"), re.M))
def test_what_an_answer_names_is_in_the_files_that_it_names(row: str) -> None:
    names = re.findall("`([^`]+)`", row.partition("?")[2])
    paths = [name for name in names if name.endswith(".py")]
    texts = "\n".join((ROOT / path).read_text() for path in paths)

    assert paths
    for name in set(names) - set(paths):
        for word in re.findall(r"^[A-Za-z_.]+$", name):
            for part in word.split("."):
                assert re.search(rf"\b{part}\b", texts), name


def test_the_picture_of_chat_has_the_layers_of_its_import_contract() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [
        contract["layers"] for contract in linter["contracts"] if contract.get("containers")
    ]
    picture = section("## The rooms").partition("subgraph chat")[2].partition("\n  end")[0]
    pictured = dict(re.findall(r'^    (\w+)\["(.*)"\]$', picture, re.M))
    order = re.findall(r"\w+", picture.rpartition("\n")[2])

    assert order == list(pictured)
    assert [label.replace("/", "").split("<br>") for label in pictured.values()] == [
        layer.split(" | ") for layer in layers
    ]


def test_the_picture_of_a_reply_s_life_has_every_change_and_no_other() -> None:
    table = re.findall(
        r"^\| (\S.*?) +\| (\S.*?) +\|.*\| `(\w+)` +\|$", lifecycle.__doc__ or "", re.M
    )
    arrows = re.findall(r"^  (\S+) --> (\S+): ([\w, ]+)", section("## A reply's life"), re.M)
    pictured = {
        (before, after, function)
        for before, after, label in arrows
        for function in label.split(", ")
    }

    assert table
    words = {"(no row)": "[*]", "as before": "ended"}
    assert {tuple(words.get(part, part) for part in change) for change in table} == {
        tuple(part.strip() for part in change) for change in pictured
    }
