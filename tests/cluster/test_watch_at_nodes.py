"""Case 16 of the field notes, at real nodes: where a watch begins, and at which node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from felix.proto.commands import UpdateTenant
from felix.proto.control_plane import Call
from felix.proto.errors import Compacted, FelixError, FutureVersion, ValidationFailed
from felix.proto.queries import WatchUpdates
from felix.proto.updates import UpdateBatch
from tests.cluster.follower import Follower
from tests.support.cluster import TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

STALE_S = 2.0


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster() as running:
        running.make_namespace()
        yield running


def watch(node: RunningNode, from_version: int, epoch: int = 1) -> UpdateBatch:
    query = WatchUpdates(from_version=from_version, epoch=epoch)
    found = node.ask(query, Call(timeout_s=10)).result
    assert isinstance(found, UpdateBatch)
    return found


@pytest.mark.parametrize("is_leader", [True, False])
def test_whatever_version_a_watch_asks_for_has_one_answer_at_every_node(
    three: Cluster, *, is_leader: bool
) -> None:
    leader = three.leader()
    node = leader if is_leader else three.others(leader)[0]
    for number in range(5):
        three.nodes[0].ask(UpdateTenant(tenant_id=TENANT, display_name=f"{is_leader}{number}"))
    version = three.wait_converged().version
    everything = watch(node, 0)
    assert (everything.first, everything.last) == (1, version)
    assert [one.version for one in everything.updates] == list(range(1, version + 1))
    nothing = watch(node, version)
    assert (nothing.first, nothing.last, nothing.updates) == (version + 1, version, [])
    refusals: list[tuple[int, int, type[FelixError]]] = [
        (version + 1, 1, FutureVersion),
        (1 << 62, 1, FutureVersion),
        (-1, 1, ValidationFailed),
        (0, 2, Compacted),
        (version, 2, Compacted),
    ]
    for from_version, epoch, error in refusals:
        with pytest.raises(error):
            watch(node, from_version, epoch)


def test_a_node_that_leads_no_more_says_nothing_that_makes_a_broker_current(three: Cluster) -> None:
    """It cannot know what the others have committed; once it does, the broker hears it from it."""
    old = three.leader()
    others = three.others(old)
    with Follower([old]) as broker:
        assert broker.client.wait_current(30)
        assert broker.client.staleness_s < STALE_S
        for node in others:
            node.pause()
        eventually(lambda: broker.client.staleness_s > 2 * STALE_S, 30)
        before = broker.client.version
        for node in others:
            node.resume()
        three.nodes[0].ask(UpdateTenant(tenant_id=TENANT, display_name="new"), Call(timeout_s=10))
        assert broker.client.wait_version(before + 1, 30)
        eventually(lambda: broker.client.staleness_s < STALE_S, 30)
        broker.assert_in_step_with(three.wait_converged())
