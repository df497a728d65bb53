"""The actor that decides where shards go, between a RaftNode that the test plays and the clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from felix.actors.messages import (
    ActorRef,
    GetReports,
    Leading,
    Propose,
    Proposed,
    ReadWork,
    ReportsSeen,
    WorkRead,
    tell_if_alive,
)
from felix.actors.placement_planner import PlacementPlanner, PlanTimes
from felix.actors.watch_position import Position, WatchPosition
from felix.core.catalog.planning import STREAMS_MAX, work_of
from felix.core.placement import arrivals
from felix.core.placement.arrivals import FEW
from felix.proto.brokers import Placement, ShardMove
from felix.proto.commands import AnyCommand
from felix.proto.errors import ErrorReply
from felix.proto.ids import Epoch, Term, Version
from felix.proto.placement_commands import DrainBroker, StartMoves, UpdateBroker
from tests.support.placement_log import PlacementLog, copies, registration
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


class Raft(pykka.ThreadingActor):
    """Has a catalog, gives extracts of it, and applies what is proposed at once."""

    use_daemon_thread = True

    def __init__(self, log: PlacementLog, shared: WatchPosition) -> None:
        super().__init__()
        self._log = log
        self._shared = shared
        self.meanwhile: list[AnyCommand] = []
        """What is applied between an extract and what comes of it."""
        self.refused: list[StartMoves] = []
        self.brokers_shown = 0
        self._tell()

    def _tell(self) -> None:
        version = Version(self._log.catalog.version)
        self._shared.move(Position(Epoch(1), version, "d", Version(0), is_current=True))

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, ReadWork):
            work = work_of(self._log.catalog, 0, message.after, message.dead)
            self.brokers_shown = len(work.fleet.brokers)
            while self.meanwhile:
                self._log.do(self.meanwhile.pop())
            tell_if_alive(message.reply_to, WorkRead(work))
        elif isinstance(message, Propose):
            errors = []
            for command in message.commands:
                result = self._log.do(command).result
                if isinstance(result, ErrorReply):
                    errors.append(result.message)
                    assert isinstance(command, StartMoves)
                    self.refused.append(command)
            tell_if_alive(message.reply_to, Proposed(message.number, tuple(errors)))
        else:
            self._log.do(message)
        self._tell()
        return None


class Monitor(pykka.ThreadingActor):
    """Has heard nothing that matters."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        assert isinstance(message, GetReports)
        return ReportsSeen(Term(1), (), ())


class Around:
    """The planner, and those around it. What is in the log before `lead` is there at its start."""

    def __init__(self) -> None:
        self.log = PlacementLog()
        self.shared = WatchPosition()
        self.raft: ActorRef = Raft.start(self.log, self.shared)
        self.monitor: ActorRef = Monitor.start()
        self.planner: ActorRef = PlacementPlanner.start(
            lambda *_: None, PlanTimes(), lambda: self.monitor, self.shared
        )

    @property
    def node(self) -> Raft:
        found = self.raft._actor_weakref()  # the test plays this actor: it may look inside
        assert isinstance(found, Raft)
        return found

    def register(self, *broker_ids: str) -> None:
        for one in broker_ids:
            self.raft.ask(registration(one), timeout=10)

    def lead(self) -> None:
        self.planner.tell(Leading(Term(1), is_leader=True, raft=self.raft))

    def moves(self) -> list[ShardMove]:
        return self.log.index.moves()

    def placed(self, name: str) -> tuple[Placement, ...]:
        row = self.log.row(name)
        return () if row is None else row.placements


@pytest.fixture
def around() -> Iterator[Around]:
    found = Around()
    yield found
    for actor in (found.planner, found.monitor, found.raft):
        actor.stop()


def test_a_plan_that_was_refused_is_made_anew(around: Around) -> None:
    around.register("b1", "b2", "b3", "b4")
    around.log.stream("s", copies("b1", "b2", "b3"))
    around.log.set_status("b3", "down")
    around.raft.ask(DrainBroker(broker_id="b2"), timeout=10)
    around.node.meanwhile.append(UpdateBroker(broker_id="b4", region="elsewhere"))
    around.lead()
    eventually(lambda: bool(around.moves()))
    (refused,) = around.node.refused
    (move,) = around.moves()
    assert (move.from_broker, move.to_broker) == ("b2", "b4")
    assert refused.plan.moves[0].to_broker == "b4"


def test_streams_that_nobody_can_have_do_not_keep_others_waiting(around: Around) -> None:
    around.register("b1", "b2", "b3")
    for number in range(2 * STREAMS_MAX + 10):
        around.log.stream(f"a{number:04}", regions=("nowhere",))
    around.log.stream("z")
    around.lead()
    eventually(lambda: bool(around.placed("z")))
    assert not around.placed("a0000")


def test_many_streams_wait_for_the_brokers_that_are_about_to_come(around: Around) -> None:
    names = [f"s{number}" for number in range(FEW + 1)]
    for name in names:
        around.log.stream(name)
    around.lead()
    around.register("b1")
    eventually(lambda: around.node.brokers_shown == 1)
    around.register("b2", "b3")
    eventually(lambda: bool(around.placed(names[-1])))
    for name in names:
        (shard,) = around.placed(name)
        assert sorted(shard.copies) == ["b1", "b2", "b3"]
        assert shard.generation == 1, "it has got all of them at once"


def test_a_few_streams_wait_for_nobody(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "SETTLE_S", 3600.0)
    monkeypatch.setattr(arrivals, "SETTLE_S_MAX", 3600.0)
    around.log.stream("s")
    around.lead()
    around.register("b1")
    eventually(lambda: bool(around.placed("s")))
