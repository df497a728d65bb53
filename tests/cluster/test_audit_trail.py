"""The audit trail of real nodes: the same on all, through changes of the leader."""

from __future__ import annotations

import pytest

from felix.proto.cluster import TransferLeadership
from felix.proto.commands import CreateTenant
from felix.proto.control_plane import Call
from felix.proto.identity import AuditPage
from felix.proto.queries import GetAudit
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
