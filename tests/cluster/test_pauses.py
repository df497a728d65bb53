"""A leader that stands still for a while and then goes on as if nothing had happened."""

from __future__ import annotations

import time
from typing import TypeAlias

import pykka
import pytest

from felix.proto.control_plane import Answered, Call
from felix.proto.errors import FelixError
from felix.proto.rpc import Consistency
from felix.transport.rpc_client import RpcClient
from tests.cluster.register import READ_TIMEOUT_S, REGISTER, Register, value_of
from tests.support.cluster import RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PAUSE_S = 3.0
QUESTIONS = 20
"""Of each kind, that lie in the sockets of the leader when it wakes up."""
AGE_SLACK_S = 0.05
"""Rounding, and the way of the answer that moved the register on."""

Question: TypeAlias = tuple[int, float, pykka.ThreadingFuture[Answered]]
"""What was known before it was asked, when it was asked, and what will come of it."""


def test_no_read_is_ever_stale_while_a_leader_is_paused_and_resumed() -> None:
    with cluster() as three:
        three.make_namespace()
        with Register(three.nodes) as register:
            eventually(lambda: register.floor > 50, 30)
            leader = three.leader()
            leader.pause()
            paused_at, floor = time.monotonic(), register.floor
            eventually(
                lambda: register.floor > floor + 50 and time.monotonic() > paused_at + PAUSE_S, 30
            )
            ask_while_it_wakes(leader, register)
            answered = register.count_of(leader)
            eventually(lambda: register.count_of(leader) > answered + 50, 30)
        print(len(register.reads), "reads,", register.attempted, "writes tried")
        assert not register.stale_reads()
        three.wait_converged()


def ask_while_it_wakes(leader: RunningNode, register: Register) -> None:
    """Put questions into the sockets of the paused leader, wake it, and judge its answers."""
    client = RpcClient(leader.rpc)
    try:
        leader_knows = [ask_later(client, register, "linearizable") for _ in range(QUESTIONS)]
        leader_has = [ask_later(client, register, "stale") for _ in range(QUESTIONS)]
        woken_at = time.monotonic()
        leader.resume()
        for floor, begun, future in leader_knows:
            answered = outcome_of(future)
            if answered is not None:
                register.note(leader, begun, floor, answered)
        stale = [outcome_of(future) for _, _, future in leader_has]
        assert all(stale), "a stale read needs nobody"
        for answer in stale:
            assert answer is not None
            assert_age_is_honest(register, answer, woken_at)
    finally:
        client.close()


def ask_later(client: RpcClient, register: Register, consistency: Consistency) -> Question:
    begun, floor = time.monotonic(), register.floor
    call = Call(timeout_s=READ_TIMEOUT_S, consistency=consistency)
    return floor, begun, client.submit(REGISTER, call)


def outcome_of(future: pykka.ThreadingFuture[Answered]) -> Answered | None:
    try:
        answered = future.get(timeout=2 * READ_TIMEOUT_S)
    except FelixError:
        return None
    assert isinstance(answered, Answered)
    return answered


def assert_age_is_honest(register: Register, answered: Answered, woken_at: float) -> None:
    """The answer was given after the node woke up, so what it says is at least so old."""
    outdated_since = register.outdated_since(value_of(answered))
    if outdated_since is not None:
        assert answered.age_ms / 1000 > woken_at - outdated_since - AGE_SLACK_S
