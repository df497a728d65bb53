"""The RPC client against real sockets whose other end answers, hesitates or dies."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest

from felix.proto.commands import CreateTenant, Deleted
from felix.proto.control_plane import Call
from felix.proto.errors import (
    DeadlineExceeded,
    FelixError,
    NoLeader,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    ShuttingDown,
    TooLarge,
    Unprocessable,
)
from felix.proto.queries import GetTenant
from felix.proto.resources import Tenant
from felix.proto.rpc import Answer, Request
from felix.transport.rpc_client import RpcClient
from felix.transport.rpc_pipeline import PipelinedRpc
from tests.support.scripted_node import Handler, ScriptedNode
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

READ = GetTenant(tenant_id="acme")
WRITE = CreateTenant(tenant_id="acme")
NOBODY = "tcp://127.0.0.1:1"


def echo(request: Request) -> Answer:
    message = request.message
    assert isinstance(message, GetTenant | CreateTenant)
    return Tenant(tenant_id=message.tenant_id, version=request.id)


def nothing(_request: Request) -> None:
    return None


def refusing(error: FelixError, times: int) -> Handler:
    """Refuse that many requests, then answer."""
    left = [times]

    def handle(request: Request) -> Answer | FelixError:
        left[0] -= 1
        return error if left[0] >= 0 else echo(request)

    return handle


def client_of(*nodes: ScriptedNode) -> RpcClient:
    return RpcClient([node.rpc for node in nodes])


def test_an_answer_reaches_the_one_who_asked_for_it() -> None:
    with ScriptedNode(echo) as node:
        client = client_of(node)
        results: dict[int, str] = {}

        def ask_often(number: int) -> None:
            for step in range(50):
                name = f"t{number}-{step}"
                answered = client.ask(GetTenant(tenant_id=name))
                assert isinstance(answered.result, Tenant)
                assert answered.result.tenant_id == name
                assert answered.version == 7
            results[number] = "done"

        threads = [threading.Thread(target=ask_often, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(results) == 8
        ids = [request.id for request in node.requests]
        assert len(set(ids)) == 400
        client.close()


def test_an_error_arrives_as_what_it_is() -> None:
    with ScriptedNode(lambda _: NotFound("no such tenant")) as node:
        client = client_of(node)
        with pytest.raises(NotFound, match="no such tenant"):
            client.ask(READ)
        client.close()


def test_not_now_is_tried_again_until_it_is_now() -> None:
    with ScriptedNode(refusing(NoLeader("election"), 3)) as node:
        client = client_of(node)
        assert client.ask(WRITE).version == 7
        assert len({request.id for request in node.requests}) == 4
        assert client.statistics().retries == 3
        client.close()


def test_a_refusal_that_lasts_is_told_at_the_deadline_as_not_applied() -> None:
    with ScriptedNode(lambda _: NoLeader("election", retry_after_ms=20)) as node:
        client = client_of(node)
        with pytest.raises(NoLeader):
            client.ask(WRITE, Call(timeout_s=1.0))
        client.close()


def test_no_answer_is_an_unknown_outcome_at_the_deadline_and_a_late_reply_is_dropped() -> None:
    with ScriptedNode(nothing) as node:
        client = client_of(node)
        with pytest.raises(DeadlineExceeded) as caught:
            client.ask(WRITE, Call(timeout_s=0.1))
        assert caught.value.retry_after_ms
        (request,) = node.requests
        node.do(lambda: node.reply(node.routes[request.id], request.id, echo(request)))
        eventually(lambda: client.statistics().replies_late == 1)
        client.close()


def test_an_unreachable_node_is_told_as_not_applied() -> None:
    client = RpcClient(NOBODY)
    with pytest.raises(NoLeader, match="reached"):
        client.ask(WRITE, Call(timeout_s=0.1))
    client.close()


def test_a_write_without_a_key_is_never_sent_twice_when_its_outcome_is_open() -> None:
    with ScriptedNode(refusing(OutcomeUnknown("leadership was lost"), 1)) as node:
        client = client_of(node)
        with pytest.raises(OutcomeUnknown):
            client.ask(WRITE)
        assert len(node.requests) == 1
        client.close()


def test_a_write_with_a_key_is_sent_again_with_the_same_key() -> None:
    with ScriptedNode(refusing(OutcomeUnknown("leadership was lost"), 2)) as node:
        client = client_of(node)
        assert client.ask(WRITE, Call(idempotency_key="k1")).version == 7
        assert [request.idempotency_key for request in node.requests] == ["k1"] * 3
        client.close()


def test_a_doubt_is_not_forgotten_when_the_last_try_was_refused() -> None:
    answers: list[FelixError] = [OutcomeUnknown("lost")]

    def handle(_request: Request) -> FelixError:
        return answers.pop() if answers else NoLeader("election")

    with ScriptedNode(handle) as node:
        client = client_of(node)
        with pytest.raises(OutcomeUnknown):
            client.ask(WRITE, Call(idempotency_key="k1", timeout_s=0.2))
        client.close()


def test_a_lost_connection_ends_a_write_without_a_key_long_before_its_deadline() -> None:
    with ScriptedNode(nothing) as node:
        client = client_of(node)
        write = client.submit(WRITE, Call(timeout_s=30))
        eventually(lambda: len(node.requests) == 1)
        node.stop()
        with pytest.raises(OutcomeUnknown, match="lost"):
            write.get(timeout=10)
        client.close()


def test_a_lost_connection_moves_a_read_to_another_node() -> None:
    with ScriptedNode(nothing) as first, ScriptedNode(nothing) as second:
        client = client_of(first, second)
        read = client.submit(READ, Call(timeout_s=30))
        eventually(lambda: len(first.requests) + len(second.requests) == 1)
        asked, other = (first, second) if first.requests else (second, first)
        other.handler = echo
        asked.stop()
        assert read.get(timeout=10).version == 7
        client.close()


def test_a_node_that_comes_back_is_used_again() -> None:
    with ScriptedNode(echo) as node:
        client = client_of(node)
        client.ask(READ)
        node.stop()
        waiting = client.submit(READ, Call(timeout_s=20))
        with ScriptedNode(echo, node.rpc, node.watch):
            assert waiting.get(timeout=20).version == 7
        client.close()


def test_too_much_in_flight_is_refused_here() -> None:
    with ScriptedNode(nothing) as node:
        client = RpcClient(node.rpc, in_flight_max=4)
        futures = [client.submit(READ, Call(timeout_s=30)) for _ in range(5)]
        with pytest.raises(Overloaded):
            futures[-1].get(timeout=10)
        client.close()
        for future in futures[:-1]:
            with pytest.raises((OutcomeUnknown, ShuttingDown)):
                future.get(timeout=10)


def test_what_cannot_be_sent_is_refused_before_it_is() -> None:
    client = RpcClient(NOBODY)
    with pytest.raises(Unprocessable):
        client.submit(GetTenant(tenant_id="\ud800"))
    with pytest.raises(TooLarge):
        client.submit(GetTenant(tenant_id="x" * (1 << 20)))
    client.close()


def test_a_closed_client_says_so() -> None:
    client = RpcClient(NOBODY)
    client.close()
    with pytest.raises(ShuttingDown):
        client.ask(READ)


def test_garbage_from_the_other_end_is_counted_and_harms_nobody() -> None:
    with ScriptedNode(nothing) as node:
        client = client_of(node)
        pending = client.submit(READ, Call(timeout_s=20))
        eventually(lambda: len(node.requests) == 1)
        (request,) = node.requests
        for data in (b"", b"\xc1", b"\x93\x01\x02\x03"):
            node.do(partial(node.send_raw, request, data))
        eventually(lambda: client.statistics().replies_malformed == 3)
        node.do(lambda: node.reply(node.routes[request.id], request.id, echo(request)))
        assert pending.get(timeout=10).version == 7
        client.close()


def test_an_answer_that_cannot_be_read_leaves_the_outcome_open() -> None:
    with ScriptedNode(lambda _: Deleted(3)) as node:
        client = client_of(node)
        with pytest.raises(OutcomeUnknown, match="cannot be read"):
            client.ask(WRITE)
        client.close()


def test_a_forked_child_opens_sockets_of_its_own() -> None:
    with ScriptedNode(echo) as node:
        client = client_of(node)
        assert client.ask(READ).version == 7
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if client.ask(READ, Call(timeout_s=5)).version == 7 else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.ask(READ).version == 7
        client.close()


def test_a_pipeline_collects_answers_and_errors_by_number() -> None:
    with ScriptedNode(refusing(NotFound("none"), 1)) as node, PipelinedRpc(node.rpc) as rpc:
        numbers = [rpc.send(READ) for _ in range(20)]
        outcomes: dict[int, object] = {}
        while rpc.in_flight:
            outcomes.update(rpc.poll())
        assert sorted(outcomes) == numbers
        assert isinstance(outcomes[numbers[0]], NotFound)
