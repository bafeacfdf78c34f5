"""What `GET /metrics` says, read as Prometheus reads it."""

from collections.abc import Mapping
from typing import NamedTuple, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Sample(NamedTuple):
    """The name of a series, and its labels."""

    name: str
    labels: frozenset[tuple[str, str]]


class Metrics:
    """The values of all series at one moment, or by how much they have changed."""

    def __init__(self, values: Mapping[Sample, float]) -> None:
        self._values = values

    @classmethod
    def of(cls, text: str) -> Self:
        """Parse Prometheus's text format."""
        values = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = Sample(sample.name, frozenset(sample.labels.items()))
                assert key not in values, f"{key} is there twice"
                values[key] = sample.value
        return cls(values)

    def __sub__(self, before: "Metrics") -> "Metrics":
        changes = {key: value - before._values.get(key, 0) for key, value in self._values.items()}
        return Metrics(changes)

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of all series with this name and these labels; 0 where there is none."""
        wanted = labels.items()
        return sum(
            value
            for key, value in self._values.items()
            if key.name == name and all(dict(key.labels).get(k, "") == v for k, v in wanted)
        )

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of each series with this name."""
        return [dict(key.labels) for key in self._values if key.name == name]

    def falls(self, before: "Metrics") -> list[Sample]:
        """Return the counters and histograms that are less than before, or gone."""
        return [
            key
            for key, value in before._values.items()
            if key.name.endswith(("_total", "_count", "_sum", "_bucket"))
            and self._values.get(key, 0) < value
        ]


def metrics_of(url: str) -> Metrics:
    """Return what a server says."""
    answer = httpx.get(f"{url}/metrics", timeout=10)
    assert answer.status_code == 200, answer.text
    return Metrics.of(answer.text)
