"""What `/metrics` shows when something is missing, wrong, or newer than this build."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pykka
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from felix.actors.metric_family import Family, Section, rendered
from felix.actors.metrics import NodeCollector
from felix.actors.node_settings import NodeStatistics
from felix.cli.scraping import certificate_end_s, registry_of
from felix.core.histogram import Histogram, HistogramValues
from felix.http.request_counts import RequestTotals
from tests.support.certificates import make_pair

NOTHING_ASKED = RequestTotals({}, {}, 0.0, (), 0)
EXPIRY = "felix_tls_certificate_expiry_timestamp_seconds "


def no_answer() -> NodeStatistics:
    raise pykka.Timeout("an actor stands still")


def shown(cert_file: str) -> str:
    registry = registry_of(no_answer, lambda: NOTHING_ASKED, cert_file)
    return generate_latest(registry).decode()


def test_an_actor_that_does_not_answer_leaves_felix_up_at_0_and_the_process_there() -> None:
    registry = CollectorRegistry()
    registry.register(NodeCollector(no_answer))
    samples = [one for one in generate_latest(registry).decode().splitlines() if one[0] != "#"]
    assert samples == ["felix_up 0.0"]
    text = shown("")
    assert "felix_build_info{" in text
    assert "process_resident_memory_bytes " in text


def test_the_end_of_the_certificate_is_shown_with_tls_and_only_then(tmp_path: Path) -> None:
    assert not any(one.startswith(EXPIRY) for one in shown("").splitlines())
    pair = make_pair(tmp_path)
    ends_s = certificate_end_s(Path(pair.cert_file))
    assert ends_s > time.time()
    lines = shown(pair.cert_file).splitlines()
    (line,) = (one for one in lines if one.startswith(EXPIRY))
    assert float(line.removeprefix(EXPIRY)) == ends_s


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nx\n"])
def test_a_certificate_that_cannot_be_read_ends_at_0(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_bytes(content)
    assert certificate_end_s(path) == 0
    assert f"{EXPIRY}0.0" in shown(str(path))


def test_a_histogram_is_shown_with_buckets_that_add_up() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.add(value)
    family: Family[HistogramValues] = Family("x_seconds", "histogram", "X.", lambda now: now)
    (metric,) = rendered([Section("", (family,))], histogram.values())
    found: dict[Any, float] = {
        (one.name, one.labels.get("le")): one.value for one in metric.samples
    }
    assert found == {
        ("x_seconds_bucket", "0.1"): 2,
        ("x_seconds_bucket", "1.0"): 3,
        ("x_seconds_bucket", "+Inf"): 4,
        ("x_seconds_count", None): 4,
        ("x_seconds_sum", None): pytest.approx(7.65),
    }
