"""The actor that listens to brokers, between a RaftNode that the test plays and the clock."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pykka
import pytest

from felix.actors.brokers_heard import BrokersHeard
from felix.actors.heartbeat_monitor import BeatStatistics, HeartbeatMonitor
from felix.actors.messages import (
    ActorRef,
    BrokerAnswer,
    CatalogRead,
    GetReports,
    GetStatistics,
    Leading,
    Propose,
    Proposed,
    ReadCatalog,
    Reported,
    ReportsSeen,
)
from felix.actors.watch_position import Position, WatchPosition
from felix.actors.watchdog import Pulse
from felix.core.brokers.heartbeats import BeatTimes, BrokerSeen
from felix.proto.brokers import HealthAck, HealthStatus
from felix.proto.ids import Epoch, Term, Version
from felix.proto.placement_commands import ChangeBrokerStatus
from felix.proto.reports import ReportHealth
from tests.brokers.fleet import broker
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

TIMES = BeatTimes(interval_s=0.2, missed=3)
M = TypeVar("M")


class Raft(pykka.ThreadingActor):
    """Keeps what HeartbeatMonitor says, and has one broker in its catalog."""

    use_daemon_thread = True

    def __init__(self, heard: queue.Queue[object], beat: Callable[[], None]) -> None:
        super().__init__()
        self._heard = heard
        self._beat = beat

    def on_receive(self, message: object) -> Any:
        self._beat()
        if isinstance(message, ReadCatalog):
            seen = (BrokerSeen(broker("a"), 0, 0),)
            message.reply_to.tell(CatalogRead(1, seen, {}, is_whole=False))
        else:
            self._heard.put(message)


class Around:
    """The monitor, and those around it."""

    def __init__(self) -> None:
        self.pulse, self.heard = Pulse(), BrokersHeard()
        self.shared = WatchPosition()
        self.shared.move(Position(Epoch(1), Version(1), "d", Version(0), is_current=True))
        self.said: queue.Queue[object] = queue.Queue()
        self.raft: ActorRef = Raft.start(self.said, lambda: None)
        self.monitor: ActorRef = HeartbeatMonitor.start(
            lambda *_: None, TIMES, self.heard, self.shared, self.pulse, waiters_max=1
        )

    def beat(self) -> bool:
        """Let the thread of consensus live on."""
        self.pulse.beats += 1
        return not self.said.empty()

    def lead(self, term: int = 1, *, is_leader: bool = True) -> None:
        self.monitor.tell(Leading(Term(term), is_leader, self.raft))

    def report(self, *, healthy: bool = True) -> HealthAck:
        report = ReportHealth(broker_id="a", broker_epoch=1, status=HealthStatus(healthy=healthy))
        seen = BrokerSeen(broker("a"), 0, 0)
        self.monitor.tell(Reported(5, report, seen, 1, "", frozenset()))
        answer = self.next(BrokerAnswer)
        assert answer.token == 5
        assert isinstance(answer.result, HealthAck)
        return answer.result

    def next(self, kind: type[M]) -> M:
        message = self.said.get(timeout=10)
        assert isinstance(message, kind)
        return message

    def numbers(self) -> BeatStatistics:
        found = self.monitor.ask(GetStatistics(), timeout=10)
        assert isinstance(found, BeatStatistics)
        return found


@pytest.fixture
def around() -> Iterator[Around]:
    with running() as found:
        yield found


@contextmanager
def running() -> Iterator[Around]:
    found = Around()
    try:
        yield found
    finally:
        found.monitor.stop(timeout=10)
        found.raft.stop(timeout=10)


def test_a_silent_broker_is_proposed_down_in_the_term_of_the_decision(around: Around) -> None:
    around.lead(term=4)
    eventually(around.beat)
    proposal = around.next(Propose)
    (command,) = proposal.commands
    assert isinstance(command, ChangeBrokerStatus)
    assert (command.to_status, command.decided_in_term, proposal.term) == ("down", 4, 4)
    assert around.heard.gone_epoch(Term(4), "a") == 1
    assert around.heard.gone_epoch(Term(5), "a") == 0, "what was heard in another term"


def test_there_is_one_proposal_at_a_time_and_the_next_once_it_is_answered(around: Around) -> None:
    around.lead()
    eventually(around.beat)
    first = around.next(Propose)
    before = around.pulse.beats
    eventually(lambda: around.beat() or around.pulse.beats > before + 100)
    assert around.said.empty()
    around.monitor.tell(Proposed(first.number, ()))
    eventually(around.beat)
    assert around.next(Propose).number > first.number, "the catalog has it still to do"


def test_nobody_is_judged_while_the_thread_of_consensus_stands_still(around: Around) -> None:
    around.lead()
    around.beat()
    eventually(lambda: around.numbers().is_judging)  # by the clock alone it might judge
    around.beat()
    around.beat()
    eventually(lambda: not around.numbers().is_judging)
    assert around.said.empty()


def test_a_report_is_answered_and_a_node_that_does_not_lead_has_forgotten_it(
    around: Around,
) -> None:
    around.lead(term=3)
    ack = around.report(healthy=False)
    assert (ack.term, ack.status, ack.wants_all_shards, ack.interval_ms) == (3, "active", True, 200)
    assert around.monitor.ask(GetReports(), timeout=10) == ReportsSeen(Term(3), ("a",), ())
    around.lead(term=5, is_leader=False)
    assert around.monitor.ask(GetReports(), timeout=10) == ReportsSeen(Term(0), (), ())
    assert around.numbers() == BeatStatistics(reports=1)
    assert around.heard.now is None
