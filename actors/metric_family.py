"""One line of a table of metrics: what Prometheus is told of it, and where its value is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from felix.core.histogram import HistogramValues

S = TypeVar("S")
Kind: TypeAlias = Literal["gauge", "counter", "histogram"]
Labelled: TypeAlias = "Mapping[Any, float] | Mapping[Any, HistogramValues]"
"""By tuples of label values; Any, as mappings of tuples of other lengths are other types."""
Reading: TypeAlias = "float | HistogramValues | Labelled"


class Family(msgspec.Struct, Generic[S], frozen=True):
    """A metric with all its series, read from an `S`."""

    name: str
    """As Prometheus shows it: a counter ends in `_total`."""
    kind: Kind
    help: str
    read: Callable[[S], Reading]
    """Gives one value, or with labels one for each combination of their values."""
    labels: tuple[str, ...] = ()


class Section(msgspec.Struct, Generic[S], frozen=True):
    """Metrics about one subject."""

    title: str
    families: tuple[Family[S], ...]


def rendered(sections: Iterable[Section[S]], source: S) -> Iterable[Metric]:
    """Read every value once."""
    for section in sections:
        for family in section.families:
            yield _metric(family, family.read(source))


def _metric(family: Family[S], reading: Reading) -> Metric:
    values = reading if isinstance(reading, Mapping) else {(): reading}
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, found in values.items():
            assert isinstance(found, HistogramValues)
            histogram.add_metric(labels, _cumulative(found), sum_value=found.total)
        return histogram
    kind = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in values.items():
        assert not isinstance(value, HistogramValues)
        metric.add_metric(labels, float(value))
    return metric


def _cumulative(values: HistogramValues) -> list[tuple[str, float]]:
    """Give the buckets as Prometheus wants them: each counts those before it as well."""
    bounds = [*map(str, values.bounds), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, values.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
