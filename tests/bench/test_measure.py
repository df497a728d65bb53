"""Percentiles, medians and ratios."""

from __future__ import annotations

import math

from bench.measure import Figures, Round, figures, medians, percentile, ratios


def _round(system: str, p50_ms: float, ops_per_s: float = 1.0, **notes: float) -> Round:
    return Round(Figures(system, "case", ops_per_s, p50_ms, p50_ms, p50_ms, p50_ms), notes)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert percentile(ordered, 0.50) == 50.0
    assert percentile(ordered, 0.99) == 99.0
    assert percentile(ordered, 1.0) == 100.0
    assert percentile([7.0], 0.50) == 7.0
    assert percentile([1.0, 2.0, 3.0], 0.99) == 3.0


def test_figures_are_in_milliseconds_and_need_no_order() -> None:
    row = figures("felix", "case", 123.44, [0.003, 0.001, 0.002])
    assert row == Figures("felix", "case", 123.4, 2.0, 3.0, 3.0, 3.0)


def test_the_median_of_rounds_is_taken_figure_by_figure() -> None:
    rounds = [_round("felix", 1.0, 30, x=1), _round("felix", 9.0, 20, x=3)]
    rounds += [_round("etcd", 5.0), _round("felix", 2.0, 10, x=2)]
    felix, etcd = medians(rounds)
    assert (felix.figures.p50_ms, felix.figures.ops_per_s, felix.notes) == (2.0, 20, {"x": 2})
    assert (etcd.figures.system, etcd.figures.p50_ms) == ("etcd", 5.0)


def test_ratios_compare_round_with_round() -> None:
    rounds = [_round("felix", 1.0), _round("etcd", 2.0), _round("felix", 6.0), _round("etcd", 4.0)]
    found = {one.figure: one for one in ratios(rounds, "felix", "etcd")}
    assert (found["p50_ms"].lowest, found["p50_ms"].median, found["p50_ms"].highest) == (
        0.5,
        1.0,
        1.5,
    )


def test_a_case_that_only_one_system_has_yields_no_ratio() -> None:
    assert ratios([_round("felix", 1.0)], "felix", "etcd") == []


def test_a_ratio_over_nothing_is_infinite_and_not_an_error() -> None:
    found = ratios([_round("felix", 1.0), _round("etcd", 0.0)], "felix", "etcd")
    assert {one.median for one in found if one.figure == "p50_ms"} == {math.inf}
