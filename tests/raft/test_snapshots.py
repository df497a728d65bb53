"""Trimming the log, and what a follower gets that needs what was trimmed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from felix.core.raft.config import RaftConfig
from felix.core.raft.progress import Mode
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    AppendEntries,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    SnapshotMeta,
    SnapshotReply,
    VoteReply,
)
from tests.raft.group import A, B, C, Group, Node, entries, entry, only

THREE = (A, B, C)
CHUNK = 10
CONFIG = RaftConfig(
    heartbeat_ticks=2,
    election_ticks_min=10,
    election_ticks_max=20,
    snapshot_chunk_bytes=CHUNK,
    snapshot_chunks_in_flight=3,
)
STATE = bytes(range(96))  # with its length in front 100 bytes: ten pieces


def sending_leader() -> tuple[Node, list[InstallSnapshot]]:
    """A leads, has trimmed its log, and has just sent B the first pieces."""
    node = Node(A, THREE, CONFIG, term=1, log=entries(1, 1, 1, 1))
    node.core._campaign()
    node.work()
    node.hear(VoteReply(C, A, Term(2), granted=True))
    node.hear(AppendReply(C, A, Term(2), accepted=True, index=Index(5)))
    node.take_snapshot(STATE)
    said = node.hear(
        AppendReply(B, A, Term(2), accepted=False, index=Index(0), rejected_prev=Index(4))
    )
    return node, only(said, InstallSnapshot)


def wants(offset: int, *, installed: bool = False, index: int = 5) -> SnapshotReply:
    return SnapshotReply(B, A, Term(2), Index(index), offset, installed)


def offsets(messages: list[InstallSnapshot]) -> list[int]:
    return [message.offset for message in messages]


def answer_heartbeats(node: Node) -> list[InstallSnapshot]:
    """Let B answer heartbeats, but nothing else, until the leader must think pieces are lost."""
    said = []
    for _ in range(3 * CONFIG.heartbeat_ticks):
        node.tick()
        said += node.work()
        said += node.hear(HeartbeatReply(B, A, Term(2), 1), HeartbeatReply(C, A, Term(2), 1))
    return only(said, InstallSnapshot)


def lagging_group() -> Group:
    """Three nodes; C has missed what A has trimmed."""
    three = Group(*(Node(name, THREE, CONFIG) for name in THREE))
    three.elect(A)
    three.cut = {C}
    for number in range(5):
        three.propose(A, b"%d" % number)
    three[A].take_snapshot(STATE)
    three.said.clear()
    return three


def test_a_follower_that_needs_what_was_trimmed_gets_the_snapshot_then_the_log() -> None:
    three = lagging_group()
    three.propose(A, b"after")
    three.cut = set()
    three.tick(6 * CONFIG.heartbeat_ticks)
    assert three[C].core.snapshot == three[A].core.snapshot
    assert [one.data for one in three[C].applied] == [b"", b"after"]
    assert b"".join(three[C].snapshots.chunks(three[A].core.snapshot or meta_at(0))) == STATE


def test_pieces_leave_up_to_the_window_and_no_further() -> None:
    node, pieces = sending_leader()
    assert offsets(pieces) == [0, 10, 20]
    assert len(pieces[0].data) == CHUNK
    assert offsets(only(node.hear(wants(10)), InstallSnapshot)) == [30]
    assert offsets(only(node.hear(wants(30)), InstallSnapshot)) == [40, 50]


def test_a_snapshot_ends_with_a_shorter_piece() -> None:
    node, _ = sending_leader()
    last = only(node.hear(wants(90)), InstallSnapshot)
    assert offsets(last) == [90]
    assert node.core.snapshot is not None
    assert 90 + len(last[0].data) == node.core.snapshot.size_bytes


def test_the_log_goes_on_behind_an_installed_snapshot() -> None:
    node, _ = sending_leader()
    node.core.propose([b"after"])
    node.work()
    (sent,) = only(node.hear(wants(100, installed=True)), AppendEntries)
    assert (sent.to, sent.prev_index) == (B, 5)
    assert [one.index for one in sent.entries] == [6]


def test_no_entries_are_sent_while_a_snapshot_is_under_way() -> None:
    node, _ = sending_leader()
    node.core.propose([b"x"])
    assert B not in [message.to for message in only(node.work(), AppendEntries)]


def test_a_piece_that_comes_twice_makes_no_traffic() -> None:
    node, _ = sending_leader()
    node.hear(wants(10))
    for _ in range(5):
        assert node.hear(wants(10)) == []


def test_a_lost_piece_is_sent_again_from_where_the_follower_is() -> None:
    node, _ = sending_leader()
    node.hear(wants(20))
    assert offsets(answer_heartbeats(node))[:3] == [20, 30, 40]


def test_a_damaged_transfer_starts_again_from_the_first_byte() -> None:
    node, _ = sending_leader()
    node.hear(wants(50))
    node.hear(wants(0))
    assert offsets(answer_heartbeats(node))[:3] == [0, 10, 20]


def test_answers_about_another_snapshot_mean_nothing() -> None:
    node, _ = sending_leader()
    assert node.hear(wants(40, index=3)) == []
    assert node.hear(wants(40, installed=True, index=3)) == []
    assert node.core.leader is not None
    assert node.core.leader.followers[B].mode is Mode.SNAPSHOT


def test_a_snapshot_being_sent_is_known_to_be_in_use() -> None:
    node, pieces = sending_leader()
    assert node.core.leader is not None
    assert node.core.leader.snapshots_in_use() == [pieces[0].meta]
    node.hear(wants(100, installed=True))
    assert node.core.leader.snapshots_in_use() == []


def test_damage_on_the_way_is_noticed_and_repaired() -> None:
    three = lagging_group()
    three.cut = set()
    damaged = 0
    for _ in range(400):
        said = [message for node in three.nodes.values() for message in node.work()]
        if not said:
            three[A].tick()
        for message in said:
            if isinstance(message, InstallSnapshot) and message.offset == 50 and damaged < 2:
                damaged += 1
                broken = bytes([message.data[0] ^ 1]) + message.data[1:]
                three[C].core.step(msgspec.structs.replace(message, data=broken))
            else:
                three[message.to].core.step(message)
    assert damaged == 2
    assert three[C].core.snapshot == three[A].core.snapshot


# --- broken transfers ---------------------------------------------------------------------------


def carry(three: Group, until: Callable[[], bool]) -> list[InstallSnapshot]:
    """Deliver everything, step by step, until something holds; return the pieces that were sent."""
    pieces: list[InstallSnapshot] = []
    for _ in range(1000):
        if until():
            return pieces
        said = [message for node in three.nodes.values() for message in node.work()]
        if not said:
            for node in three.nodes.values():
                node.tick()
        for message in said:
            if not {message.sender, message.to} & three.cut:
                three[message.to].core.step(message)
        pieces += only(said, InstallSnapshot)
    raise AssertionError("it never came to hold")


def received(node: Node) -> int:
    """Count the bytes that a node has of the snapshot under way."""
    partial = node.snapshots._partial
    return len(partial[1]) if partial else 0


def half_way(other: bytes = STATE) -> Group:
    """C has half of A's snapshot; B has taken one too, by default the very same."""
    three = lagging_group()
    same = three[B].take_snapshot(other) == three[A].core.snapshot
    assert same == (other == STATE)
    three.cut = set()
    carry(three, lambda: received(three[C]) >= 50)
    return three


def of(sender: NodeId, messages: list[InstallSnapshot]) -> list[InstallSnapshot]:
    return [message for message in messages if message.sender == sender]


def has_snapshot_of(three: Group, leader: NodeId) -> Callable[[], bool]:
    return lambda: three[C].core.snapshot == three[leader].core.snapshot


def test_a_leader_goes_on_where_the_follower_says() -> None:
    node, _ = sending_leader()
    assert offsets(only(node.hear(wants(50)), InstallSnapshot)) == [50, 60, 70]


def test_a_lost_connection_costs_no_more_than_what_was_on_the_way() -> None:
    three = half_way()
    three.cut = {C}
    for _ in range(CONFIG.election_ticks_max):
        three[A].tick()
        three[B].core.step(Heartbeat(A, B, three[A].core.term, Index(0), 0))
        three[A].hear(HeartbeatReply(B, A, three[A].core.term, 1))
    three.cut = set()
    assert min(offsets(carry(three, has_snapshot_of(three, A)))) >= 50


def test_a_follower_that_restarts_keeps_what_it_has_received() -> None:
    three = half_way()
    three[C].restart()
    assert min(offsets(carry(three, has_snapshot_of(three, A)))) >= 50
    assert b"".join(three[C].snapshots.chunks(three[A].core.snapshot or meta_at(0))) == STATE


def test_another_leader_goes_on_with_the_same_snapshot() -> None:
    three = half_way()
    three.cut = {A}
    have = received(three[C])
    three[B].core._elapsed = three[C].core._elapsed = CONFIG.election_ticks_max
    sent = offsets(of(B, carry(three, has_snapshot_of(three, B))))
    begun = sent[: CONFIG.snapshot_chunks_in_flight]
    assert begun == [0, 10, 20], "it cannot know yet"
    assert sent[len(begun) :] == list(range(have, 100, CHUNK))


def test_another_leaders_other_snapshot_is_received_from_its_first_byte() -> None:
    three = half_way(other=STATE[::-1])
    three.cut = {A}
    three[B].core._elapsed = three[C].core._elapsed = CONFIG.election_ticks_max
    sent = offsets(of(B, carry(three, has_snapshot_of(three, B))))
    assert sent == list(range(0, 100, CHUNK))
    assert b"".join(three[C].snapshots.chunks(three[B].core.snapshot or meta_at(0))) == STATE[::-1]


def test_a_follower_that_is_away_will_get_the_newest_snapshot() -> None:
    node, pieces = sending_leader()
    node.core.propose([b"more"])
    node.work()
    node.hear(AppendReply(C, A, Term(2), accepted=True, index=Index(6)))
    newest = node.take_snapshot(STATE[::-1])
    assert newest != pieces[0].meta
    sent = only(node.work(), InstallSnapshot)
    assert {piece.meta for piece in sent} == {newest}
    assert offsets(sent) == [0, 10, 20]
    assert node.core.leader is not None
    assert node.core.leader.snapshots_in_use() == [newest]


def test_a_transfer_that_gets_on_is_not_given_up_for_a_newer_snapshot() -> None:
    three = half_way()
    under_way = three[A].core.snapshot
    three[A].core.propose([b"more"])
    three[A].work()
    three[B].core._elapsed = 0
    three[A].hear(AppendReply(B, A, three[A].core.term, accepted=True, index=Index(7)))
    three[A].take_snapshot(STATE[::-1])
    carry(three, lambda: three[C].core.snapshot is not None)
    assert three[C].core.snapshot == under_way


def test_damage_in_what_was_kept_costs_one_more_transfer_and_no_second() -> None:
    three = half_way()
    partial = three[C].snapshots._partial
    assert partial is not None
    partial[1][7] ^= 1
    three[C].restart()
    sent = offsets(carry(three, has_snapshot_of(three, A)))
    assert sent.count(0) == 1
    assert b"".join(three[C].snapshots.chunks(three[A].core.snapshot or meta_at(0))) == STATE


# --- the follower -------------------------------------------------------------------------------


def meta_at(index: int, term: int = 1, size: int = 4) -> SnapshotMeta:
    return SnapshotMeta(Index(index), Term(term), Membership(THREE), size, "")


def piece(meta: SnapshotMeta, term: int = 1, offset: int = 0) -> InstallSnapshot:
    return InstallSnapshot(B, A, Term(term), meta, offset, b"data")


def append(term: int, prev: int, prev_term: int, *terms: int) -> AppendEntries:
    new = tuple(entry(prev + n, one) for n, one in enumerate(terms, start=1))
    return AppendEntries(B, A, Term(term), Index(prev), Term(prev_term), Index(0), new)


def test_a_snapshot_of_what_is_here_already_is_not_installed() -> None:
    node = Node(A, THREE, term=1, log=entries(1, 1, 1, 1))
    (reply,) = only(node.hear(piece(meta_at(3))), SnapshotReply)
    assert (reply.installed, reply.index) == (True, 3)
    assert node.core.commit == 3
    assert node.core.log.last_index == 4
    assert node.core.snapshot is None


def test_a_snapshot_older_than_what_is_committed_is_not_installed() -> None:
    node = Node(A, THREE, term=1, log=entries(1, 1, 1, 1))
    node.hear(piece(meta_at(4)))
    (reply,) = only(node.hear(piece(meta_at(2))), SnapshotReply)
    assert reply.installed
    assert node.core.log.last_index == 4


def test_entries_that_came_with_the_last_piece_are_not_forgotten() -> None:
    """They are acknowledged before the snapshot is put in place: their leader counts on them."""
    node = Node(A, THREE, term=1, log=entries(1))
    source = Node(B, THREE, CONFIG)
    writer = source.snapshots.begin(Index(3), Term(1))
    writer.write(b"state")
    meta = writer.finish(Membership(THREE))
    whole = InstallSnapshot(B, A, Term(1), meta, 0, source.snapshots.read(meta, 0, 1000))
    said = node.hear(whole, append(2, 1, 1, 1, 1, 2, 2))
    assert [reply.index for reply in only(said, AppendReply)] == [5]
    assert node.core.log.last_index == 5
    assert [one.term for one in node.journal.recover().entries] == [1, 1, 1, 2, 2]


def test_a_snapshot_replaces_a_log_that_contradicts_it() -> None:
    node = Node(A, THREE, term=2, log=entries(1, 2, 2, 2))
    source = Node(B, THREE, CONFIG)
    writer = source.snapshots.begin(Index(3), Term(3))
    writer.write(b"state")
    meta = writer.finish(Membership(THREE))
    whole = InstallSnapshot(B, A, Term(3), meta, 0, source.snapshots.read(meta, 0, 1000))
    node.hear(whole)
    assert node.core.snapshot == meta
    assert (node.core.commit, node.core.applied) == (3, 3)
    assert (node.core.log.last_index, node.core.log.last_term) == (3, 3)
    assert node.journal.recover().entries == ()


def test_a_snapshot_is_reported_only_once_it_is_in_place() -> None:
    node = Node(A, THREE)
    node.core.step(piece(meta_at(3, size=100)))
    ready = node.core.ready()
    assert ready is not None
    assert not only((*ready.messages, *ready.replies), SnapshotReply)
    assert node.core.wants_snapshot(ready.chunks[0].meta)
    (reply,) = only([*node.carry_out(ready), *node.work()], SnapshotReply)
    assert (reply.installed, reply.offset) == (False, 4)


# --- trimming -----------------------------------------------------------------------------------


def test_a_tail_is_kept_so_that_a_short_absence_needs_no_snapshot() -> None:
    three = Group(*(Node(name, THREE, CONFIG) for name in THREE))
    three.elect(A)
    three.cut = {C}
    for number in range(5):
        three.propose(A, b"%d" % number)
    three[A].take_snapshot(STATE, first_kept=2)
    three.cut = set()
    three.tick(6 * CONFIG.heartbeat_ticks)
    assert not only(three.said, InstallSnapshot)
    assert three[C].core.commit == three[A].core.commit
    assert len(three[C].applied) == 6


def test_an_older_snapshot_than_the_one_in_place_changes_nothing() -> None:
    three = lagging_group()
    node = three[A]
    before = (node.core.snapshot, node.core.log.first_index)
    node.core.compact(meta_at(2), Index(1))
    assert (node.core.snapshot, node.core.log.first_index) == before


def test_a_node_restarts_from_its_snapshot_and_the_tail_before_it() -> None:
    three = Group(*(Node(name, THREE, CONFIG) for name in THREE))
    three.elect(A)
    three.propose(A, b"1", b"2", b"3", b"4", b"5")
    node = three[A]
    node.take_snapshot(STATE, first_kept=3)
    node.applied.clear()
    node.restart()
    assert (node.core.commit, node.core.applied) == (6, 6)
    assert (node.core.log.first_index, node.core.log.last_index) == (4, 6)
    three.elect(B)
    three.propose(B, b"again")
    assert [one.data for one in node.applied] == [b"", b"again"]


def test_after_a_restart_committed_entries_behind_the_snapshot_are_applied_again() -> None:
    three = lagging_group()
    three.propose(A, b"one", b"two")
    node = three[A]
    node.applied.clear()
    node.restart()
    three.cut = set()
    three.elect(B)
    assert [one.data for one in node.applied] == [b"one", b"two", b""]
