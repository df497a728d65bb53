"""A node with an empty disk that waits to be taken in: whoever watches it must leave it alone."""

from __future__ import annotations

import pytest
import urllib3

from tests.cluster.test_membership import newcomer
from tests.support.cluster import RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def answer(node: RunningNode, path: str) -> tuple[int, str]:
    try:
        seen = node.probe(path)
    except urllib3.exceptions.HTTPError:
        return 0, ""
    return seen.status, seen.data.decode()


def test_a_node_that_waits_for_a_cluster_is_live_and_says_why_it_is_not_ready() -> None:
    with cluster(nodes=1) as one:
        (first,) = one.nodes
        first.kill()
        second = newcomer(one)
        one.nodes.append(second)
        second.start()
        eventually(lambda: answer(second, "/live") == (200, "ok"), 30)
        assert answer(second, "/ready") == (
            503,
            "waiting for a member of the cluster to answer: n1",
        )
        assert "process_start_time_seconds" in second.metrics()

        first.start()
        eventually(lambda: answer(second, "/ready") == (503, "no leader is known"), 30)
        assert answer(second, "/live") == (200, "ok")


def test_a_node_that_waits_for_a_cluster_stops_when_it_is_told_to() -> None:
    with cluster(nodes=1) as one:
        one.nodes[0].kill()
        second = newcomer(one)
        one.nodes.append(second)
        second.start()
        eventually(lambda: answer(second, "/live")[0] == 200, 30)
        second.terminate()
        assert second.wait(5) == 0
        assert not second.data_dir.joinpath("identity.json").exists()
