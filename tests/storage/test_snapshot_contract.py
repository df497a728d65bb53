"""What every snapshot store promises; run over the one on disk and its twin in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Membership, SnapshotMeta
from felix.storage.errors import Damaged
from felix.storage.memory import MemorySnapshots
from felix.storage.ports import SnapshotStore
from felix.storage.snapshots import SnapshotFiles

Restart: TypeAlias = Callable[[], SnapshotStore]
CHUNKS = [b"first", b"", bytes(range(256)) * 40]
MEMBERSHIP = Membership((NodeId("a"), NodeId("b"), NodeId("c")))


@pytest.fixture(params=["memory", pytest.param("disk", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Iterator[SnapshotStore]:
    yield from opened(kind, tmp_path / "own")


@pytest.fixture
def leader(kind: str, tmp_path: Path) -> Iterator[SnapshotStore]:
    yield from opened(kind, tmp_path / "leader")


@pytest.fixture
def restarted(kind: str, store: SnapshotStore, tmp_path: Path) -> Iterator[Restart]:
    """Give the store as a node finds it that was killed and has started again."""
    if kind == "memory":
        yield lambda: store
        return
    lives: list[SnapshotFiles] = []

    def again() -> SnapshotStore:
        lives.append(SnapshotFiles(tmp_path / "own"))
        return lives[-1]

    yield again
    for one in lives:
        one.close()


def opened(kind: str, folder: Path) -> Iterator[SnapshotStore]:
    if kind == "memory":
        yield MemorySnapshots()
        return
    files = SnapshotFiles(folder)
    yield files
    files.close()


def write(store: SnapshotStore, index: int) -> SnapshotMeta:
    writer = store.begin(Index(index), Term(2))
    for chunk in CHUNKS:
        writer.write(chunk)
    return writer.finish(MEMBERSHIP)


def send(sender: SnapshotStore, to: SnapshotStore, meta: SnapshotMeta, piece_bytes: int) -> None:
    offset = 0
    while data := sender.read(meta, offset, piece_bytes):
        offset = to.receive(meta, offset, data)
    assert offset == meta.size_bytes


def test_chunks_come_back_as_written(store: SnapshotStore) -> None:
    meta = write(store, 10)
    assert (meta.index, meta.term, meta.membership) == (10, 2, MEMBERSHIP)
    assert list(store.chunks(meta)) == CHUNKS


def test_reading_raw_is_short_only_at_the_end(store: SnapshotStore) -> None:
    meta = write(store, 10)
    assert len(store.read(meta, 0, 100)) == 100
    assert len(store.read(meta, meta.size_bytes - 3, 100)) == 3
    assert store.read(meta, meta.size_bytes, 100) == b""


def test_a_received_snapshot_reads_like_the_sent_one(
    store: SnapshotStore, leader: SnapshotStore
) -> None:
    meta = write(leader, 10)
    send(leader, store, meta, piece_bytes=1000)
    assert store.accept(meta)
    assert list(store.chunks(meta)) == CHUNKS


def test_a_piece_that_is_not_wanted_now_is_dropped(
    store: SnapshotStore, leader: SnapshotStore
) -> None:
    meta = write(leader, 10)
    piece = leader.read(meta, 0, 1000)
    assert store.receive(meta, 500, piece) == 0
    assert store.receive(meta, 0, piece) == 1000
    assert store.receive(meta, 2000, piece) == 1000
    assert store.receive(meta, 500, piece) == 1000


def test_a_snapshot_damaged_on_the_way_is_not_accepted(
    store: SnapshotStore, leader: SnapshotStore
) -> None:
    meta = write(leader, 10)
    data = bytearray(leader.read(meta, 0, meta.size_bytes))
    data[-1] ^= 1
    store.receive(meta, 0, bytes(data))
    assert not store.accept(meta)
    with pytest.raises(Damaged):
        list(store.chunks(meta))


def test_a_snapshot_received_in_part_is_not_accepted(
    store: SnapshotStore, leader: SnapshotStore
) -> None:
    meta = write(leader, 10)
    store.receive(meta, 0, leader.read(meta, 0, meta.size_bytes - 1))
    assert not store.accept(meta)


def test_another_snapshot_from_the_leader_starts_anew(
    store: SnapshotStore, leader: SnapshotStore
) -> None:
    older, newer = write(leader, 10), write(leader, 20)
    store.receive(older, 0, leader.read(older, 0, 100))
    send(leader, store, newer, piece_bytes=4096)
    assert store.accept(newer)
    assert list(store.chunks(newer)) == CHUNKS


def test_what_was_received_before_a_restart_is_not_wanted_again(
    store: SnapshotStore, leader: SnapshotStore, restarted: Restart
) -> None:
    meta = write(leader, 10)
    assert store.receive(meta, 0, leader.read(meta, 0, 9000)) == 9000
    again = restarted()
    assert again.receive(meta, 0, leader.read(meta, 0, 100)) == 9000
    assert again.receive(meta, 9000, leader.read(meta, 9000, 1 << 20)) == meta.size_bytes
    assert again.accept(meta)
    assert list(again.chunks(meta)) == CHUNKS


def test_a_transfer_that_ended_just_before_its_acceptance_needs_no_byte_more(
    store: SnapshotStore, leader: SnapshotStore, restarted: Restart
) -> None:
    meta = write(leader, 10)
    send(leader, store, meta, piece_bytes=1000)
    again = restarted()
    assert again.receive(meta, 0, leader.read(meta, 0, 1000)) == meta.size_bytes
    assert again.accept(meta)
    assert list(again.chunks(meta)) == CHUNKS


def test_damage_in_what_was_kept_over_a_restart_costs_one_more_transfer(
    store: SnapshotStore, leader: SnapshotStore, restarted: Restart
) -> None:
    meta = write(leader, 10)
    first = bytearray(leader.read(meta, 0, 5000))
    first[100] ^= 1
    store.receive(meta, 0, bytes(first))
    again = restarted()
    again.receive(meta, 5000, leader.read(meta, 5000, meta.size_bytes))
    assert not again.accept(meta)
    assert again.receive(meta, 5000, leader.read(meta, 5000, 1000)) == 0, "nothing of it is kept"
    send(leader, again, meta, piece_bytes=1000)
    assert again.accept(meta)


def test_what_was_received_of_another_snapshot_is_forgotten(
    store: SnapshotStore, leader: SnapshotStore, restarted: Restart
) -> None:
    older, newer = write(leader, 10), write(leader, 20)
    store.receive(older, 0, leader.read(older, 0, 100))
    again = restarted()
    assert again.receive(newer, 0, leader.read(newer, 0, 200)) == 200
    assert again.receive(older, 100, leader.read(older, 100, 100)) == 0


def test_pruning_leaves_what_is_kept(store: SnapshotStore) -> None:
    first, second, third = (write(store, index) for index in (10, 20, 30))
    store.prune([first, third])
    assert list(store.chunks(first)) == CHUNKS
    assert list(store.chunks(third)) == CHUNKS
    with pytest.raises(Damaged):
        list(store.chunks(second))


def test_pruning_spares_a_snapshot_that_nobody_has_heard_of_yet(store: SnapshotStore) -> None:
    known, just_finished = write(store, 10), write(store, 20)
    store.prune([known])
    assert list(store.chunks(just_finished)) == CHUNKS


def test_an_abandoned_snapshot_leaves_the_others_alone(store: SnapshotStore) -> None:
    kept = write(store, 10)
    writer = store.begin(Index(20), Term(2))
    writer.write(b"half")
    writer.abandon()
    assert list(store.chunks(kept)) == CHUNKS


def test_older_ones_are_listed_the_newest_first(store: SnapshotStore) -> None:
    first, second, third = (write(store, index) for index in (10, 20, 30))
    assert list(store.older(third)) == [second, first]
    assert list(store.older(first)) == []
    assert list(store.chunks(store.older(third)[0])) == CHUNKS
