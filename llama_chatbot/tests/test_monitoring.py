"""The dashboard, the alert rules and docs/monitoring.md name what the server says."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from testing.people import Caller
from testing.processes import ROOT, Server
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE

DASHBOARD = ROOT / "deploy" / "grafana-dashboard.json"
RULES = ROOT / "deploy" / "prometheus-rules.yml"
PAGE = (ROOT / "docs" / "monitoring.md").read_text()

OF_PROMETHEUS = {"up", "job", "instance", "le"}
WORDS = {"sum", "min", "max", "by", "or", "and", "unless", "on", "without"}
BUILT_IN = re.compile(r"\b[a-z_]+(?=\s*\()")  # functions and aggregations


def expressions() -> Iterator[str]:
    """Yield each expression of the dashboard and the rules."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]
    for one, many in re.findall(
        r"^ +expr: (?:([^|\n]+)|\|\n((?: {10,}.*\n)+))", RULES.read_text(), re.MULTILINE
    ):
        yield one or many


def names_in(expression: str) -> set[str]:
    """Return the names of the series and the labels in an expression."""
    text = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    return set(re.findall(r"\b[a-z_]\w*", BUILT_IN.sub("", text))) - WORDS


@pytest.fixture
def text(server: Server, ann: Caller, ollama: ScriptedOllama) -> str:
    """What a server says once there has been one reply of each kind."""
    for script in (Script(["one"]), Script(["one"], then="die")):
        ollama.script = script
        ann.say(ann.thread(), headers=SSE)
    return httpx.get(f"{server.url}/metrics").text


def series_of(text: str) -> set[str]:
    """Return the names of all series, also of those that have no value yet."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    return {
        family.name + suffix
        for family in text_string_to_metric_families(text)
        for suffix in suffixes[family.type]
    }


def labels_of(text: str) -> set[str]:
    families = text_string_to_metric_families(text)
    return {label for family in families for sample in family.samples for label in sample.labels}


def test_what_the_dashboard_and_the_rules_name_is_there(text: str) -> None:
    known = series_of(text) | labels_of(text) | OF_PROMETHEUS
    named = {name for expression in expressions() for name in names_in(expression)}

    assert len(named) > 20
    assert named - known == set()


def test_the_dashboard_shows_every_series(text: str) -> None:
    shown = {name for expression in expressions() for name in names_in(expression)}
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in series_of(text)}

    missing = {name for name in ours if not any(one.startswith(name) for one in shown)}
    assert missing == set()


def test_the_page_names_every_series_with_its_type_and_labels(text: str) -> None:
    documented = {}
    above = ""
    for names, kind, labels in re.findall(
        r"^\| (`[a-z_`, ]+`) \| (\w+) \| (.*?) ?\| .* \|$", PAGE, re.MULTILINE
    ):
        if labels.startswith("the same"):
            labels = f"{above}, {labels}"
        else:
            above = labels
        for name in re.findall("`(.*?)`", names):
            documented[name] = kind, set(re.findall("`(.*?)`", labels))

    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = family.type, labels - {"le"}
    assert documented == found


def test_the_unit_shares_the_metrics_in_a_directory_that_outlives_each_process() -> None:
    unit = dict(
        re.findall(
            r"^(RuntimeDirectory\w*|Environment)=(.*)$",
            (ROOT / "deploy" / "llama-chatbot@.service").read_text(),
            re.MULTILINE,
        )
    )

    assert unit["Environment"] == f"METRICS_DIRECTORY=/run/{unit['RuntimeDirectory']}"
    # Or the first to stop would take away the files of the others.
    assert unit["RuntimeDirectoryPreserve"] == "yes"


@pytest.fixture(scope="module")
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    return program


def test_prometheus_takes_the_rules(promtool: str) -> None:
    subprocess.run([promtool, "check", "rules", "--lint-fatal", str(RULES)], check=True)


def test_prometheus_finds_no_fault_with_the_names(promtool: str, text: str) -> None:
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_configuration_of_the_page_is_one(promtool: str, tmp_path: Path) -> None:
    first, second = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "llama-chatbot.yml").write_text(RULES.read_text())
    for name, text in (("here.yml", first), ("there.yml", "scrape_configs:\n" + second)):
        (tmp_path / name).write_text(text)
        subprocess.run([promtool, "check", "config", str(tmp_path / name)], check=True)
