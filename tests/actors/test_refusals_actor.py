"""What a node refused, or did to the cluster, on its way into the trail."""

from __future__ import annotations

import pytest

from felix.actors.refusals import Refusals, noted
from felix.core.refusals import RefusalQueue
from felix.proto.cluster import AddMember, AnyOperation, RemoveMember, TransferLeadership
from felix.proto.commands import DeleteStream
from felix.proto.errors import DiskFull, FelixError, Forbidden, NoLeader, OutcomeUnknown
from felix.proto.identity import Refusal
from felix.proto.queries import ListStreams
from felix.proto.raft import Addresses
from felix.proto.rpc import PROTOCOL, Request
from felix.transport.socket_actor import SocketActor
from tests.support.catalog_log import NOON_MS
from tests.support.refusal_trail import RefusalTrail
from tests.support.waiting import eventually


def failed(_actor: SocketActor, error: BaseException) -> None:
    raise AssertionError from error


def refusal(number: int) -> Refusal:
    return Refusal(
        time_ms=NOON_MS, operation="GetSnapshot", code="forbidden", request_id=f"r-{number}"
    )


@pytest.mark.parametrize(
    "error", [NoLeader("there is no leader"), DiskFull("1 MB left", retry_after_ms=5000)]
)
def test_refusals_are_written_together_and_again_when_they_could_not_be(error: FelixError) -> None:
    trail = RefusalTrail()
    trail.error = error
    ref = Refusals.start(failed, trail, RefusalQueue("n1"))
    for number in range(3):
        ref.tell(refusal(number))
    eventually(lambda: trail.asked == 1)
    trail.error = None
    eventually(lambda: trail.requests == ["r-0", "r-1", "r-2"])
    assert len(trail.batches) == 1
    assert trail.batches[0].node == "n1"
    ref.stop()


def test_what_waited_when_an_actor_ended_is_written_by_the_next_one() -> None:
    trail, queue = RefusalTrail(), RefusalQueue("n1")
    queue.add(refusal(1))
    assert queue.take() is not None  # and it ended before it heard what became of it
    ref = Refusals.start(failed, trail, queue)
    eventually(lambda: trail.requests == ["r-1"])
    ref.stop()


@pytest.mark.parametrize(
    ("operation", "object_"),
    [
        (AddMember(member_id="0" * 32, name="n4", addresses=Addresses("a:1", "a:2")), "member:n4"),
        (RemoveMember(member="n2"), "member:n2"),
        (TransferLeadership(target="n3"), "member:n3"),
        (TransferLeadership(), ""),
    ],
)
def test_an_operation_is_noted_with_who_asked_and_which_member(
    operation: AnyOperation, object_: str
) -> None:
    request = Request(PROTOCOL, 1, 1000, operation, "linearizable", None, "r-1", "key:ops", "::1")
    assert noted(request, NOON_MS, None) == Refusal(
        time_ms=NOON_MS,
        operation=type(operation).__name__,
        code="success",
        principal="key:ops",
        source="::1",
        request_id="r-1",
        object=object_,
    )
    assert noted(request, NOON_MS, OutcomeUnknown("lost")).code == "outcome_unknown"


def test_a_refused_command_or_query_is_noted_with_what_it_was_about() -> None:
    command = DeleteStream(tenant_id="acme", namespace="prod", stream="orders")
    found = noted(Request(PROTOCOL, 1, 1000, command), NOON_MS, Forbidden("not yours"))
    assert (found.operation, found.object, found.code) == (
        "DeleteStream",
        "stream:orders",
        "forbidden",
    )
    assert found.reason == "not yours"
    query = ListStreams(tenant_id="acme", namespace="prod")
    found = noted(Request(PROTOCOL, 1, 1000, query), NOON_MS, Forbidden("not yours"))
    assert (found.tenant_id, found.namespace, found.object) == ("acme", "prod", "")
