"""A strict reading of Prometheus' text format: what it allows, and what we promise on top."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from felix.actors.metric_family import Family
from felix.actors.metrics import UP
from tests.metrics.metrics_page import SHOWN

FAMILIES: Final[dict[str, Family[Any]]] = {
    one.name: one for one in (UP, *(one for section in SHOWN for one in section.families))
}
GAUGES_OF_THE_CONTRACT: Final = {"felix_streams_total", "felix_caches_total"}
UNITS_THAT_ARE_NOT_BASE_ONES: Final = re.compile(
    r"_(ms|milliseconds|us|micros|minutes|hours|days|kb|mb|gb|kib|mib|percent)(_|$)"
)
UNBOUNDED: Final = {
    "tenant", "tenant_id", "namespace", "stream", "shard", "shard_id", "cache", "broker",
    "broker_id", "principal", "subject", "issuer", "kid", "path", "address", "source", "node",
    "member", "request_id",
}  # fmt: skip
SERIES_MAX: Final = 3000
_SAMPLE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)")


def read(text: str) -> dict[str, Metric]:
    """Read what a node shows. Raises: AssertionError where it is not as it should be."""
    assert text.endswith("\n")
    _check_lines(text)
    families: dict[str, Metric] = {}
    for metric in text_string_to_metric_families(text):
        name = metric.name + ("_total" if metric.type == "counter" else "")
        assert name not in families, f"{name} is there twice"
        families[name] = metric
        _check_family(name, metric)
    series = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(series) <= SERIES_MAX
    return families


def _check_lines(text: str) -> None:
    """HELP, then TYPE, then all samples of a family, and no series twice."""
    announced: list[str] = []
    seen: set[str] = set()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("# HELP "):
            name, _, words = line.removeprefix("# HELP ").partition(" ")
            assert words.strip(), f"{name} has no HELP"
            assert name not in announced, f"{name} is announced twice"
            assert lines[number + 1].startswith(f"# TYPE {name} "), f"{name} has no TYPE"
            announced.append(name)
        elif not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match is not None, line
            name = match[1]
            stem = re.sub(r"_(bucket|sum|count)$", "", name)
            assert announced[-1] in {name, stem}, f"{name} stands apart from its family"
            assert not math.isnan(float(match[3])), line
            series = line.rpartition(" ")[0]
            assert series not in seen, f"{series} is there twice"
            seen.add(series)


def _check_family(name: str, metric: Metric) -> None:
    if name.startswith(("process_", "python_")):
        return
    assert re.fullmatch(r"felix_[a-z0-9_]+", name), name
    assert not UNITS_THAT_ARE_NOT_BASE_ONES.search(name), name
    if metric.type == "gauge" and name not in GAUGES_OF_THE_CONTRACT:
        assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
    family = FAMILIES[name]
    assert (metric.type, metric.documentation) == (family.kind, family.help)
    for sample in metric.samples:
        labels = set(sample.labels) - ({"le"} if sample.name.endswith("_bucket") else set())
        assert labels == set(family.labels), sample
        assert not labels & UNBOUNDED, sample
        assert metric.type == "gauge" or sample.value >= 0, sample
    if metric.type == "histogram":
        _check_buckets(metric)


def _check_buckets(metric: Metric) -> None:
    """Buckets grow, and the last one is the count."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    counts: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in metric.samples:
        labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[labels] = sample.value
    assert buckets.keys() == counts.keys()
    for labels, found in buckets.items():
        assert found == sorted(found), f"{metric.name} {labels}"
        assert [value for _, value in found] == sorted(value for _, value in found)
        assert found[-1] == (math.inf, counts[labels])
