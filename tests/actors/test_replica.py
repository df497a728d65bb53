"""A node's state machine while those that it tells have failed, or the disk has no room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest
from structlog.testing import capture_logs

from felix.actors.disk_space import DiskSpace
from felix.actors.messages import (
    ActorRef,
    SnapshotBegin,
    SnapshotChunkWritten,
    SnapshotEnd,
    SnapshotLoad,
)
from felix.actors.replica import SLICE_UPDATES, Replica
from felix.actors.watch_position import WatchPosition
from felix.core.catalog.catalog import Applied, Catalog, CatalogLimits
from felix.proto import codec
from felix.proto.commands import CreateTenant, Proposal, Stamp
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Entry, EntryKind, Membership, SnapshotMeta

CLUSTER = "c" * 32
MEMBERSHIP = Membership((NodeId("a"),))


class Listener(pykka.ThreadingActor):
    """Remembers what it is told."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[object] = []

    def on_receive(self, message: object) -> Any:
        if message == "heard?":
            return [type(one) for one in self.heard]
        self.heard.append(message)
        return None


class Surroundings:
    """A replica, and those whom it tells."""

    def __init__(self) -> None:
        self.fanout, self.snapshots, self.me = (Listener.start() for _ in range(3))
        self.shared = WatchPosition()
        self.disk = DiskSpace(Path("/"), 256)
        self.catalogs: list[Catalog] = []
        """Those that were said to have other credentials of brokers."""
        self.replica = Replica(
            Catalog(CLUSTER, limits=CatalogLimits()),
            Term(0),
            self.fanout,
            self.snapshots,
            self.me,
            self.shared,
            lambda *_: None,
            self.disk,
            self.catalogs.append,
        )

    def write(self, index: int) -> None:
        """Apply a creation."""
        self.replica.apply([creation(index)], {}, lambda *_: None)

    def dump(self) -> None:
        """Write the dump that has begun to its end."""
        while self.replica.dump_slice():
            pass


def creation(index: int) -> Entry:
    """Make an entry that brings one update."""
    command = CreateTenant(tenant_id=f"t{index}")
    data = codec.encode(Proposal(1, Stamp(1, f"r{index}"), command))
    return Entry(Index(index), Term(1), EntryKind.COMMAND, data)


def turns_until_caught_up(replica: Replica, finished: Callable[[int, Applied], None]) -> int:
    turns = 0
    while replica.is_behind:
        replica.catch_up(finished)
        turns += 1
    return turns


def heard(actor: ActorRef) -> list[type]:
    return list(actor.ask("heard?", timeout=5))


@pytest.fixture
def around() -> Iterator[Surroundings]:
    made = Surroundings()
    yield made
    for actor in (made.fanout, made.snapshots, made.me):
        if actor.is_alive():
            actor.stop()


WHOLE = [SnapshotBegin, SnapshotChunkWritten, SnapshotEnd]


def whole(actor: ActorRef) -> bool:
    """Say whether one snapshot was told from its beginning to its end."""
    told = heard(actor)
    middle = told[1:-1]
    return [told[0], *{*middle}, told[-1]] == WHOLE


@pytest.mark.parametrize("slices", [0, 1])
def test_a_dump_is_given_up_with_its_writer_and_begun_again_with_the_next(
    around: Surroundings, slices: int
) -> None:
    replica = around.replica
    for index in range(1, 400):
        around.write(index)
    assert replica.begin_dump(MEMBERSHIP)
    for _ in range(slices):
        assert replica.dump_slice()
    around.snapshots.stop()
    assert not replica.dump_slice(), "nobody is there to hear the rest"
    assert not replica.dump_slice()
    assert not replica.begin_dump(MEMBERSHIP)
    around.snapshots = Listener.start()
    replica.attach(around.fanout, around.snapshots)
    assert replica.begin_dump(MEMBERSHIP)
    around.dump()
    assert whole(around.snapshots)


def test_updates_are_not_published_to_the_dead_and_go_on_being_applied(
    around: Surroundings,
) -> None:
    around.shared.subscribers = 1
    around.fanout.stop()
    around.write(1)
    assert around.replica.catalog.applied_index == 1


def test_entries_that_bring_many_updates_are_applied_over_several_turns_and_in_order(
    around: Surroundings,
) -> None:
    replica, last = around.replica, 2 * SLICE_UPDATES + 500
    answered: list[int] = []

    def finished(token: int, _: Applied) -> None:
        answered.append(token)

    tokens = {Index(index): index for index in range(1, last + 3)}
    replica.apply([creation(index) for index in range(1, last + 1)], tokens, finished)
    assert replica.catalog.applied_index == SLICE_UPDATES
    assert replica.is_behind
    replica.apply([creation(last + 1)], tokens, finished)
    assert replica.catalog.applied_index == SLICE_UPDATES, "what comes later waits its turn"
    assert turns_until_caught_up(replica, finished) >= 3  # more where a turn's time is short
    assert replica.catalog.applied_index == last + 1
    assert answered == list(range(1, last + 2))
    around.write(last + 2)
    assert replica.catalog.applied_index == last + 2


def test_a_snapshot_from_the_leader_is_read_by_the_next_reader(around: Surroundings) -> None:
    around.snapshots.stop()
    meta = SnapshotMeta(Index(9), Term(1), MEMBERSHIP, 1, "")
    around.replica.begin_load(meta)
    around.snapshots = Listener.start()
    around.replica.attach(around.fanout, around.snapshots)
    assert heard(around.snapshots) == [SnapshotLoad]


def test_no_snapshot_is_begun_on_a_disk_that_is_nearly_full_and_it_is_said_once(
    around: Surroundings,
) -> None:
    around.write(1)
    around.disk.is_low = True
    with capture_logs() as logs:
        assert not around.replica.begin_dump(MEMBERSHIP)
        assert not around.replica.begin_dump(MEMBERSHIP)
    assert [one["log_level"] for one in logs] == ["warning"]
    assert heard(around.snapshots) == []
    around.disk.is_low = False
    assert around.replica.begin_dump(MEMBERSHIP)
    around.dump()
    assert whole(around.snapshots)
    around.disk.is_low = True
    with capture_logs() as logs:
        assert not around.replica.begin_dump(MEMBERSHIP)
    assert len(logs) == 1, "another time is said again"


def test_the_credentials_of_another_catalog_are_told_and_those_of_the_same_are_not(
    around: Surroundings,
) -> None:
    first = around.replica.catalog
    around.write(1)
    assert around.catalogs == [first]
    snapshot = SnapshotMeta(Index(9), Term(1), MEMBERSHIP, 0, "")
    other = Catalog(CLUSTER, limits=CatalogLimits())
    around.replica.begin_load(snapshot)
    assert around.replica.loaded(snapshot, other)
    assert around.catalogs == [first, other]
