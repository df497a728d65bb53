"""A fleet at three real nodes, as `python -m bench fleet` has it, with smaller numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.fleet import Size, fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIZE = Size(
    brokers=30,
    hosts=5,
    streams=1000,
    shards=1,
    interval_ms=2000,
    rebuild_after_s=0,
    patience_s=90.0,
    load_s=1.0,
)


def test_no_broker_of_a_fleet_ends_with_a_wrong_cache_whatever_is_killed(tmp_path: Path) -> None:
    with fleet(str(tmp_path), SIZE, print) as running:
        rounds = running.everything()
    assert len(rounds) == 5
