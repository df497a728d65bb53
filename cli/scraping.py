"""All that `/metrics` shows: the node's numbers, those of its HTTP processes, and its own."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from felix import __version__
from felix.actors.metric_family import Family, Reading, Section, rendered
from felix.actors.metrics import NodeCollector
from felix.actors.node_settings import NodeStatistics
from felix.core.histogram import HistogramValues
from felix.http.request_counts import BOUNDS_S, STATUSES, RequestTotals


class Surroundings(msgspec.Struct, frozen=True):
    """What is true of the process as a whole."""

    clock_s: float
    """Unix time by the clock of this machine."""
    certificate_ends_s: float | None
    """Unix time; None: there is no certificate. 0: it cannot be read."""


def registry_of(
    statistics: Callable[[], NodeStatistics],
    totals: Callable[[], RequestTotals],
    cert_file: str,
) -> CollectorRegistry:
    """Put together what is asked at each scrape; `cert_file` may be empty."""
    registry = registry_of_process(cert_file)
    registry.register(NodeCollector(statistics))
    registry.register(_Reader(lambda: rendered([HTTP], totals())))
    return registry


def registry_of_process(cert_file: str) -> CollectorRegistry:
    """Put together what is true of the process, also while there is no node in it yet."""
    registry = CollectorRegistry()
    registry.register(_Reader(lambda: rendered([PROCESS], _surroundings(cert_file))))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


class _Reader(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


def _surroundings(cert_file: str) -> Surroundings:
    ends_s = certificate_end_s(Path(cert_file)) if cert_file else None
    return Surroundings(time.time(), ends_s)


def certificate_end_s(path: Path) -> float:
    """Say when the first certificate of a chain in PEM ends, in Unix seconds; 0: unreadable."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return 0.0
    return min(one.not_valid_after_utc.timestamp() for one in found)


def _requests(totals: RequestTotals) -> Reading:
    return {
        (*door, status): float(count)
        for door, found in totals.doors.items()
        for status, count in zip(STATUSES, found.statuses, strict=True)
        if count
    }


def _seconds(totals: RequestTotals) -> Reading:
    return {
        door: HistogramValues(BOUNDS_S, found.buckets, found.seconds)
        for door, found in totals.doors.items()
    }


def _certificate(now: Surroundings) -> Reading:
    return {} if now.certificate_ends_s is None else now.certificate_ends_s


HTTP: Final[Section[RequestTotals]] = Section("The HTTP API", (
    Family(
        "felix_http_requests_total",
        "counter",
        "Requests answered. `route` is a path of the table of routes, `other` for everything else "
        "and for what was refused before its route was known; `status` is `2xx` to `5xx`.",
        _requests,
        ("route", "method", "status"),
    ),
    Family(
        "felix_http_request_seconds",
        "histogram",
        "How long answers took; long polls and `wait_brokers` wait on purpose.",
        _seconds,
        ("route", "method"),
    ),
    Family(
        "felix_http_refusals_total",
        "counter",
        "Requests refused, by the code of the answer.",
        lambda totals: {(code,): float(count) for code, count in totals.codes.items()},
        ("code",),
    ),
    Family(
        "felix_http_workers",
        "gauge",
        "HTTP processes that are there.",
        lambda totals: len(totals.workers),
    ),
    Family(
        "felix_http_cpu_seconds_total",
        "counter",
        "Processor time of all HTTP processes since the node began.",
        lambda totals: totals.cpu_seconds,
    ),
    Family(
        "felix_http_resident_memory_bytes",
        "gauge",
        "Memory of the HTTP processes that are there.",
        lambda totals: totals.resident_bytes,
    ),
))  # fmt: skip

PROCESS: Final[Section[Surroundings]] = Section("The process", (
    Family(
        "felix_build_info",
        "gauge",
        "Always 1; its labels say what runs.",
        lambda _: {(__version__, platform.python_version()): 1.0},
        ("version", "python"),
    ),
    Family(
        "felix_clock_seconds",
        "gauge",
        "Unix time by the clock of this machine.",
        lambda now: now.clock_s,
    ),
    Family(
        "felix_tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the certificate of the HTTP listeners ends, in Unix time; 0: it cannot be read. Not "
        "there without TLS.",
        _certificate,
    ),
))  # fmt: skip
