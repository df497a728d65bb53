"""A planned restart costs no election timeout and no answer."""

from __future__ import annotations

import itertools

import pytest

from felix.cli.config import RaftTimings
from tests.cluster.load import Load, assert_nothing_is_lost
from tests.support.cluster import cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENT = RaftTimings(heartbeat_ms=100, election_min_ms=4000, election_max_ms=6000)
"""An election by timeout would be seen: it takes seconds."""
PAUSE_S_MAX = 1.5


def test_restarting_all_nodes_one_by_one_interrupts_nobody_for_an_election_timeout() -> None:
    with cluster(raft=PATIENT) as three:
        three.make_namespace()
        with Load(three.rpc) as load:
            eventually(lambda: load.count > 50, 30)
            order = [three.leader(), *three.nodes]
            terms = []
            for node in order:
                node.terminate()
                assert node.wait() == 0
                three.start()
                goal = load.count + 50
                eventually(lambda goal=goal: load.count > goal, 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                status = three.nodes[0].status()
                assert status is not None
                terms.append(status.term)
        three.wait_converged()
        for node in three.nodes:
            assert_nothing_is_lost(load, node)
        ends = sorted(end for _, end in load.spans)
        pause = max(after - before for before, after in itertools.pairwise(ends))
        print(f"{load.count} writes, longest pause {pause * 1e3:.0f} ms, terms {terms}")
        assert pause < PAUSE_S_MAX
        assert not load.refused, load.refused
        assert not load.unknown, load.unknown
