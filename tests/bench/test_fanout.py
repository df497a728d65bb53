"""Fan-out, burst and herd on three real nodes, with few subscribers: do they hold together?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import fanout, herd
from bench.cluster import FelixTarget
from bench.errors import BenchError
from bench.stage import Stage, staged

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SUBSCRIBERS = 9


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged("felix", Path(tmp_path_factory.mktemp("fanout"))) as running:
        yield running


def test_a_paced_load_reaches_every_subscriber_and_a_broker_client_at_each_node(
    stage: Stage,
) -> None:
    found = fanout.paced(stage, stage.leader, SUBSCRIBERS, writes=20)
    assert found.figures.case == "subscribers=9"
    assert 0 <= found.figures.p50_ms <= found.figures.p99_ms <= found.figures.max_ms
    assert 0 < found.notes["applied_p50_ms"] <= found.notes["applied_p99_ms"]
    assert found.notes["nodes_cpu_percent"] > 0


def test_a_burst_reaches_every_subscriber(stage: Stage) -> None:
    found = fanout.burst(stage, stage.leader, SUBSCRIBERS, writes=300)
    assert found.figures.case == "burst=300x9"
    assert found.figures.ops_per_s * found.notes["all_have_all_s"] == pytest.approx(2700, rel=0.01)


def test_a_herd_comes_back_while_commits_go_on_and_ends_where_the_leader_is(stage: Stage) -> None:
    found = herd.herd(stage, stage.leader, SUBSCRIBERS, streams=3000, commits=20)
    assert found.figures.case == "herd=9x3000"
    assert found.notes["all_current_s"] >= found.figures.p50_ms / 1000 > 0
    assert found.notes["broker_clients_current_s"] > 0
    assert found.notes["refusals"] == 0


def test_whoever_ends_elsewhere_than_the_leader_fails_the_herd(stage: Stage) -> None:
    target = stage.target
    assert isinstance(target, FelixTarget)
    version, _ = target.place()
    strayed = herd.Gathered([1.0], [(version, "0" * 32)], gaps=0, refusals=0, cpu_s=0.0)
    with pytest.raises(BenchError, match="the leader is at"):
        herd.check(target, target.term(), [strayed])
