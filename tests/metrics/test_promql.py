"""The reader of PromQL takes what Prometheus takes, and nothing else."""

from __future__ import annotations

import re

import pytest

from tests.metrics.promql import BadQuery, Query, Use


@pytest.mark.parametrize(
    "text",
    [
        "up == 0",
        'max by (job) (rate(a_total{b="c", d!~"e|f"}[5m])) > 0.1',
        "a / b * 2 - -1 < time() and on (job, instance) (c == 1)",
        "histogram_quantile(0.99, sum by (le) (rate(a_bucket[$__rate_interval])))",
        "count(a) or absent(b)",
    ],
)
def test_what_is_right_is_read(text: str) -> None:
    assert Query(text).type == "instant"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "max by (job (a)",
        "rate(a)",
        "rate(a[5m]) >",
        "sum(a[5m])",
        "a{b=c}",
        'a{b="c"',
        'a{b=~"("}',
        "a b",
        "rat(a[5m])",
        "a[5 minutes]",
        "1 and a",
        "a[5m] > 1",
        "histogram_quantile(a, 0.9)",
    ],
)
def test_what_is_wrong_is_not(text: str) -> None:
    with pytest.raises((BadQuery, re.error)):
        Query(text)


def test_it_is_noted_what_each_metric_is_asked_by() -> None:
    query = Query('sum by (job) (a{b="c"}) / on (job) max by (job, d) (e)')
    assert list(query.metrics) == ["a", "e"]
    assert set(query.uses) == {
        Use("a", "job"), Use("a", "b", "=c"), Use("e", "job"), Use("e", "d"),
    }  # fmt: skip


def test_the_error_says_what_is_wrong() -> None:
    with pytest.raises(BadQuery, match="rate takes"):
        Query("rate(a)")
