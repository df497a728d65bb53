"""The audit trail of real nodes: the same on all, through changes of the leader."""

from __future__ import annotations

import pytest

from felix.proto.cluster import AddMember, TransferLeadership
from felix.proto.commands import CreateTenant
from felix.proto.control_plane import Call
from felix.proto.errors import Unknown
from felix.proto.identity import AuditPage
from felix.proto.queries import GetAudit
from felix.proto.raft import Addresses
from tests.support.cluster import cluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


def test_commands_and_operations_are_in_the_trail_of_every_node() -> None:
    with cluster() as three:
        former = three.leader()
        other = next(node for node in three.nodes if node is not former)
        who = Call(principal="key:ops", request_id="r-1", source="10.0.0.1")
        other.ask(CreateTenant(tenant_id="zeta"), who)
        other.ask(TransferLeadership(target=other.id), who)
        stale = Call(consistency="stale")

        def trail(node_index: int) -> AuditPage:
            page = three.nodes[node_index].ask(GetAudit(request_id="r-1"), stale).result
            assert isinstance(page, AuditPage)
            return page

        eventually(lambda: all(len(trail(number).items) == 2 for number in range(3)))
        transfer, create = trail(0).items
        assert (create.operation, create.object) == ("CreateTenant", "tenant:zeta")
        assert (transfer.operation, transfer.result) == ("TransferLeadership", "success")
        assert (transfer.principal, transfer.object) == ("key:ops", f"member:{other.id}")
        assert trail(0).hashes == trail(1).hashes == trail(2).hashes
        assert former.metrics()["felix_audit_refusals_dropped_total"] == 0


def test_a_node_that_stops_without_a_quorum_says_how_much_the_trail_does_not_know() -> None:
    with cluster() as three:
        leader = three.leader()
        for node in three.others(leader):
            node.kill()
        newcomer = AddMember(
            member_id="0" * 32, name="n4", addresses=Addresses("127.0.0.1:1", "127.0.0.1:2")
        )
        with pytest.raises(Unknown):
            leader.ask(newcomer, Call(timeout_s=3.0))
        leader.terminate()
        assert leader.wait() == 0
        (line,) = [one for one in leader.log.read_text().splitlines() if "not_recorded" in one]
        assert "refusals_not_recorded" in line
        assert '"count": 1' in line or "count=1" in line
