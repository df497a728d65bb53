"""Several KeyManagers at once, each of which may believe that it leads, and one key that signs.

What they say reaches the real catalog late, twice, or not at all; and they die and begin again.
"""

from __future__ import annotations

import random
import threading
from collections import Counter

import pykka
import pytest

from felix.actors.key_manager import Clock, KeyHealth, KeyManager, KeyTimes
from felix.proto.command import Command
from felix.proto.commands import CreateTenant
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import ErrorReply, NoLeader, OutcomeUnknown, from_reply
from felix.proto.identity import Done, SigningKeyPage
from felix.proto.queries import GetCluster, ListAllSigningKeys
from felix.proto.resources import SigningKey
from felix.proto.rpc import AnyRequest
from felix.transport.socket_actor import SocketActor
from tests.actors.signing_keys import sealer, status
from tests.support.identity_log import IdentityLog
from tests.support.waiting import eventually

PERIOD_S, LEAD_S, AFTER_S = 1000, 100, 50
TIMES = KeyTimes(rotation_period_s=PERIOD_S, publish_lead_s=LEAD_S, retire_after_s=AFTER_S)
TENANTS = ("acme", "blue")
PATIENCE_S = {("published", "active"): LEAD_S, ("retiring", None): AFTER_S}
ROUNDS = 60
OLD_PAGES_MAX = 50


class SharedLog:
    """The log of a cluster, behind nodes that are each wrong in their own way."""

    def __init__(self, seed: int) -> None:
        self.log = IdentityLog()
        self.sealer = sealer("kek")
        self.is_faulty = True
        self.steps: Counter[str] = Counter()
        self.problems: list[str] = []
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._pages: list[SigningKeyPage] = []
        self._late: list[Command] = []
        for tenant in TENANTS:
            new_key = self.sealer.new_key(tenant)
            self.log.apply(CreateTenant(tenant_id=tenant), new_key=new_key)

    @property
    def now_ms(self) -> int:
        """The time of all clocks."""
        return self.log.now_ms

    def pass_s(self, seconds: int) -> None:
        """Let time go on, and what was lost on its way arrive."""
        with self._lock:
            self.log.now_ms += seconds * 1000
            late, self._late = self._late, []
            for command in late:
                self._apply(command)

    def ask(self, message: AnyRequest, _: Call) -> Answered:
        """Be asked by a node that believes to lead."""
        with self._lock:
            if isinstance(message, GetCluster):
                return Answered(status("me"), 0)
            if isinstance(message, ListAllSigningKeys):
                return Answered(self._page(message), 0)
            assert isinstance(message, Command)
            return self._command(message)

    def _page(self, query: ListAllSigningKeys) -> SigningKeyPage:
        page = self.log.catalog.answer(query)
        assert isinstance(page, SigningKeyPage)
        self._pages = [*self._pages, page][-OLD_PAGES_MAX:]
        if self.is_faulty and self._random.random() < 0.3:
            return self._random.choice(self._pages)  # of a node that is behind
        return page

    def _command(self, command: Command) -> Answered:
        fate = self._random.random() if self.is_faulty else 1.0
        if fate < 0.15:
            raise NoLeader("there is no leader")
        if fate < 0.3:
            self._late.append(command)
            raise OutcomeUnknown("on its way")
        if fate < 0.45:
            self._apply(command)
            raise OutcomeUnknown("done, and nobody heard")
        result = self._apply(command)
        if isinstance(result, ErrorReply):
            raise from_reply(result)
        assert isinstance(result, Done)
        return Answered(result, 0)

    def _apply(self, command: Command) -> object:
        tenant_id: str = getattr(command, "tenant_id", "")
        before = {key.kid: key for key in self.log.view(tenant_id).keys}
        result = self.log.apply(command, new_key=self.sealer.new_key(tenant_id)).result  # type: ignore[arg-type]  # a command on keys
        self._check(tenant_id, before)
        if isinstance(result, Done):
            self.steps[type(command).__name__] += 1
        return result

    def _check(self, tenant_id: str, before: dict[str, SigningKey]) -> None:
        """Hold that one key signs, and that everyone had the time that they are promised."""
        states = self.log.states(tenant_id)
        counts = Counter(states.values())
        if counts["active"] != 1 or counts["published"] > 1:
            self.problems.append(f"{tenant_id}: {counts}")
        for kid, key in before.items():
            waited_s = (self.now_ms - key.state_since_ms) / 1000
            step = (key.state, states.get(kid))
            if step[0] != step[1] and waited_s < PATIENCE_S.get(step, 0):
                self.problems.append(f"{tenant_id}: {kid} is {step[1]} after {waited_s} s")


class Managers:
    """Three nodes' key managers in front of one log."""

    def __init__(self, shared: SharedLog) -> None:
        self.shared = shared
        self.failures: list[BaseException] = []
        self.healths = [KeyHealth() for _ in range(3)]
        self.refs: list[pykka.ActorRef[KeyManager] | None] = [None] * 3

    def turn(self, number: int) -> None:
        """Let one die, or begin anew."""
        ref = self.refs[number]
        if ref is not None:
            ref.stop(timeout=10)
            self.refs[number] = None
            return
        shared = self.shared
        self.refs[number] = KeyManager.start(
            self._failed,
            shared.ask,
            self._nobody(),
            shared.sealer,
            TIMES,
            self.healths[number],
            Clock(lambda: shared.now_ms, lambda: shared.now_ms),
            look_s=0.0,
        )

    def walk(self) -> None:
        """Wait until each that lives has walked twice."""
        before = [health.now.walks for health in self.healths]

        def have_walked() -> bool:
            return all(
                ref is None or health.now.walks >= walks + 2
                for ref, health, walks in zip(self.refs, self.healths, before, strict=True)
            )

        eventually(have_walked)

    def stop(self) -> None:
        """End all."""
        for number, ref in enumerate(self.refs):
            if ref is not None:
                self.turn(number)
        assert self.failures == []

    def _failed(self, _: SocketActor, error: BaseException) -> None:
        self.failures.append(error)

    def _nobody(self) -> pykka.ActorRef[SocketActor]:
        ref = SocketActor.start(self._failed)
        ref.stop(timeout=10)
        return ref


@pytest.mark.parametrize("seed", range(3))
def test_however_many_lead_and_die_one_key_signs_and_rotation_goes_on(seed: int) -> None:
    print("seed:", seed)
    chance = random.Random(seed)
    shared = SharedLog(seed)
    managers = Managers(shared)
    for number in range(3):
        managers.turn(number)
    try:
        for _ in range(ROUNDS):
            if chance.random() < 0.3:
                managers.turn(chance.randrange(3))
            shared.pass_s(chance.choice((1, LEAD_S // 2, LEAD_S, PERIOD_S // 4)))
            managers.walk()
        assert shared.problems == []
        # Nobody is wrong any more, and one leads.
        shared.is_faulty = False
        for number in range(3):
            if (managers.refs[number] is None) == (number == 0):
                managers.turn(number)
        before = shared.steps["ActivateSigningKey"]
        for _ in range(4 * PERIOD_S // LEAD_S):
            shared.pass_s(LEAD_S)
            managers.walk()
        assert shared.steps["ActivateSigningKey"] >= before + 3 * len(TENANTS)
        assert shared.steps["RetireSigningKey"] >= shared.steps["ActivateSigningKey"] - len(TENANTS)
        assert shared.problems == []
    finally:
        managers.stop()
