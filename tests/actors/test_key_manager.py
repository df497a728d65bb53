"""The KeyManager actor: rotation on the node that leads, alarms on every node."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pykka
import pytest

from felix.actors.key_manager import (
    PAGE_KEYS,
    Clock,
    KeyHealth,
    KeyManager,
    KeyTimes,
)
from felix.actors.messages import RaiseAlarms
from felix.proto.commands import ActivateSigningKey, RetireSigningKey, StageSigningKey
from felix.proto.errors import KeyStateRefused, NoLeader
from felix.transport.socket_actor import SocketActor, handles
from tests.actors.signing_keys import KeyKeeper, sealer
from tests.support.waiting import eventually

PERIOD_S, LEAD_S, AFTER_S = 1000, 100, 50
TIMES = KeyTimes(rotation_period_s=PERIOD_S, publish_lead_s=LEAD_S, retire_after_s=AFTER_S)


class Alarms(SocketActor):
    """Whoever hears of alarms."""

    def __init__(self, heard: queue.SimpleQueue[tuple[str, ...]]) -> None:
        super().__init__(lambda *_: None)
        self._heard = heard

    @handles(RaiseAlarms)
    def _hear(self, message: RaiseAlarms) -> None:
        assert message.source == "keys"
        self._heard.put(message.alarms)


class Run:
    """A KeyManager, and a cluster of one node for it."""

    def __init__(self, *, has_kek: bool = True) -> None:
        self.now_ms = 1_700_000_000_000
        self._sealer = sealer("new", "old")
        self._has_kek = has_kek
        self.cluster = KeyKeeper(self._sealer, lambda: self.now_ms)
        self.health = KeyHealth()
        self.alarms: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
        self.failures: list[BaseException] = []

    def start(self) -> None:
        self._ear = Alarms.start(self.alarms)
        self.manager: pykka.ActorRef[KeyManager] = KeyManager.start(
            lambda _, error: self.failures.append(error),
            self.cluster.ask,
            self._ear,
            self._sealer if self._has_kek else None,
            TIMES,
            self.health,
            Clock(lambda: self.now_ms, lambda: self.now_ms),
            look_s=0.0,
        )

    def stop(self) -> None:
        self.manager.stop(timeout=10)
        self._ear.stop(timeout=10)
        assert self.failures == []

    def walk(self, walks: int = 2) -> None:
        """Wait until it has walked anew since now."""
        before = self.health.now.walks
        eventually(lambda: self.health.now.walks >= before + walks)

    def pass_s(self, seconds: int) -> None:
        self.now_ms += seconds * 1000
        self.walk()


@contextmanager
def running(run: Run) -> Iterator[Run]:
    run.start()
    try:
        yield run
    finally:
        run.stop()


def test_a_key_is_published_then_signs_then_stays_then_goes() -> None:
    run = Run()
    run.cluster.add("acme")
    with running(run):
        run.walk()
        assert run.cluster.commands == []
        run.pass_s(PERIOD_S - LEAD_S)
        assert run.cluster.states("acme") == ["active", "published"]
        run.pass_s(LEAD_S - 1)
        assert run.cluster.states("acme") == ["active", "published"]
        run.pass_s(1)
        assert run.cluster.states("acme") == ["retiring", "active"]
        run.pass_s(AFTER_S)
        assert run.cluster.states("acme") == ["active"]
        kinds = [type(one) for one in run.cluster.commands]
        assert kinds == [StageSigningKey, ActivateSigningKey, RetireSigningKey]
        assert run.health.now.states == {"active": 1}


def test_a_key_that_nobody_replaces_is_overdue_once_its_period_and_a_lead_are_over() -> None:
    run = Run(has_kek=False)  # so nothing is proposed
    run.cluster.add("acme")
    with running(run):
        run.walk()
        began_s = run.now_ms / 1000
        assert run.health.now.oldest_since_s == began_s
        run.pass_s(PERIOD_S + LEAD_S)
        assert run.health.now.overdue == 0
        run.pass_s(1)
        assert (run.health.now.overdue, run.health.now.oldest_since_s) == (1, began_s)


def test_a_tenant_may_have_a_rotation_period_of_its_own() -> None:
    run = Run()
    run.cluster.add("slow")
    run.cluster.add("quick")
    run.cluster.period_s["quick"] = 200
    with running(run):
        run.pass_s(100)
        assert run.cluster.states("quick") == ["active", "published"]
        assert run.cluster.states("slow") == ["active"]


def test_all_tenants_are_seen_to_however_many_pages_they_fill() -> None:
    run = Run()
    tenants = [f"tenant-{n:04}" for n in range(PAGE_KEYS + 50)]
    for tenant in tenants:
        run.cluster.add(tenant)
    with running(run):
        run.walk()
        run.pass_s(PERIOD_S - LEAD_S)
        assert {len(run.cluster.states(tenant)) for tenant in tenants} == {2}
        assert run.health.now.states == {"active": len(tenants), "published": len(tenants)}


def test_a_node_that_does_not_lead_proposes_nothing_and_looks_all_the_same() -> None:
    run = Run()
    run.cluster.leads = False
    run.cluster.add("acme", sealer("foreign"))
    with running(run):
        assert "1 signing keys cannot be decrypted" in run.alarms.get(timeout=10)[0]
        run.pass_s(10 * PERIOD_S)
        assert run.cluster.commands == []
        run.cluster.leads = True
        run.walk()
        assert run.cluster.states("acme") == ["active", "published"]


def test_keys_are_encrypted_anew_after_the_kek_was_replaced() -> None:
    run = Run()
    run.cluster.add("acme", sealer("old"))
    run.cluster.add("blue", sealer("new"))
    with running(run):
        run.walk()
        assert len(run.cluster.commands) == 1
        for _, sealed in run.cluster.keys.values():
            assert sealer("new").open(sealed)
        run.walk()
        assert len(run.cluster.commands) == 1


@pytest.mark.parametrize("kek", ["foreign", "old"])
def test_a_key_that_cannot_be_decrypted_raises_an_alarm_until_it_can(kek: str) -> None:
    run = Run()
    kid = run.cluster.add("acme", sealer(kek))
    run.cluster.add("blue")
    key, sealed = run.cluster.keys["acme", kid]
    if kek == "old":  # the KEK is there, and the ciphertext is not what it was
        run.cluster.keys["acme", kid] = (key, msgspec.structs.replace(sealed, sealed=b"damaged"))
    with running(run):
        (alarm,) = run.alarms.get(timeout=10)
        assert alarm == (
            "1 signing keys cannot be decrypted with any key-encryption key of this node: "
            f"acme/{kid}"
        )
        assert run.health.now.unsealable == 1
        assert run.cluster.commands == []
        run.walk()
        assert run.alarms.empty()
        del run.cluster.keys["acme", kid]
        assert run.alarms.get(timeout=10) == ()
        assert run.health.now.unsealable == 0


def test_a_node_without_a_kek_says_so_when_there_are_keys_and_touches_nothing() -> None:
    run = Run(has_kek=False)
    run.cluster.add("acme")
    with running(run):
        assert "cannot be decrypted" in run.alarms.get(timeout=10)[0]
        run.pass_s(10 * PERIOD_S)
        assert run.cluster.commands == []


def test_a_command_that_somebody_was_faster_with_does_not_stop_the_walk() -> None:
    run = Run()
    run.cluster.refuses = KeyStateRefused("one is staged already")
    for tenant in ("acme", "blue", "coal"):
        run.cluster.add(tenant)
    with running(run):
        run.pass_s(PERIOD_S)
        staged = {one.tenant_id for one in run.cluster.commands if isinstance(one, StageSigningKey)}
        assert staged == {"acme", "blue", "coal"}


def test_without_a_leader_one_try_is_enough_for_a_walk() -> None:
    run = Run()
    run.cluster.refuses = NoLeader("there is no leader")
    for n in range(50):
        run.cluster.add(f"tenant-{n}")
    with running(run):
        run.walk()
        run.pass_s(PERIOD_S)
        tries = len(run.cluster.commands)
        assert 1 <= tries <= run.health.now.walks
        run.cluster.refuses = None
        run.walk()
        assert run.cluster.states("tenant-49") != ["active"]
