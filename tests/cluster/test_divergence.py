"""A node whose state is not that of the others is found, and is taken in anew without its data."""

from __future__ import annotations

import pytest

from felix.cli.config import RaftTimings
from felix.core.raft.divergence import CHECKPOINT_ENTRIES
from felix.proto.cluster import TransferLeadership
from felix.proto.commands import CreateTenant, UpdateTenant
from felix.proto.control_plane import Call
from felix.storage.data_dir import SET_ASIDE
from felix.transport.rpc_client import RpcClient
from tests.support.cluster import TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

AT_ONCE = 64


def write_past_a_checkpoint(three: Cluster) -> None:
    client = RpcClient(three.rpc)
    try:
        for _ in range(0, CHECKPOINT_ENTRIES + AT_ONCE, AT_ONCE):
            futures = [
                client.submit(
                    UpdateTenant(tenant_id=TENANT, description=str(number)), Call(timeout_s=20)
                )
                for number in range(AT_ONCE)
            ]
            for future in futures:
                future.get(timeout=20)
    finally:
        client.close()


def is_somebody_new(node: RunningNode, before: str, others: list[RunningNode]) -> bool:
    if node.id == before:
        return False
    status = others[0].status()
    return status is not None and any(
        one.id == node.id and one.voter and not status.change_under_way for one in status.members
    )


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_node_that_went_wrong_does_not_go_on_and_is_mended_by_the_others(role: str) -> None:
    with cluster(raft=RaftTimings(promote_after_ms=300)) as three:
        three.make_namespace()
        leader = three.leader()
        wrong = leader if role == "leader" else three.others(leader)[0]
        wrong.kill()
        wrong.module = "tests.cluster.diverging_node"
        three.start()
        if role == "leader":
            transfer_to(three, wrong)
        others = three.others(wrong)
        others[0].ask(CreateTenant(tenant_id="flip"), Call(timeout_s=10))
        before = wrong.id
        write_past_a_checkpoint(three)
        eventually(lambda: is_somebody_new(wrong, before, others), 60)
        three.wait_converged()
        assert "not that of the majority" in wrong.tail_of_log()
        assert len(list(wrong.data_dir.glob(SET_ASIDE + "*"))) == 1
        assert all(not list(node.data_dir.glob(SET_ASIDE + "*")) for node in others)


def transfer_to(three: Cluster, node: RunningNode) -> None:
    three.nodes[0].ask(TransferLeadership(target=node.name), Call(timeout_s=10))
    assert three.leader() is node
