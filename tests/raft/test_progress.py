"""What a leader knows of one follower."""

from __future__ import annotations

from felix.core.raft.config import RaftConfig
from felix.core.raft.progress import Mode, Progress
from felix.proto.ids import Index, Term
from felix.proto.raft import Membership, SnapshotMeta
from tests.raft.group import A

CONFIG = RaftConfig(in_flight_messages_max=2, in_flight_bytes_max=1000)
SNAPSHOT = SnapshotMeta(Index(50), Term(1), Membership((A,)), 1000, "")


def replicating(match: int = 5) -> Progress:
    progress = Progress(Index(match + 1))
    progress.acknowledged(Index(match))
    progress.replicate()
    return progress


def test_entries_leave_before_the_last_ones_are_acknowledged() -> None:
    progress = replicating()
    progress.sent(Index(7), 100)
    assert progress.next == 8
    assert progress.match == 5


def test_the_window_fills_by_count_and_empties_with_answers() -> None:
    progress = replicating()
    progress.sent(Index(6), 1)
    progress.sent(Index(7), 1)
    assert progress.window_is_full(CONFIG)
    assert progress.acknowledged(Index(6))
    assert not progress.window_is_full(CONFIG)


def test_the_window_fills_by_size() -> None:
    progress = replicating()
    progress.sent(Index(6), 1000)
    assert progress.window_is_full(CONFIG)
    progress.acknowledged(Index(6))
    assert not progress.window_is_full(CONFIG)


def test_one_answer_acknowledges_everything_before_it() -> None:
    progress = replicating()
    progress.sent(Index(6), 600)
    progress.sent(Index(7), 600)
    progress.acknowledged(Index(7))
    assert progress.match == 7
    assert not progress.window_is_full(CONFIG)


def test_a_late_answer_is_no_news() -> None:
    progress = replicating(match=5)
    assert not progress.acknowledged(Index(3))
    assert progress.match == 5


def test_a_late_answer_does_not_end_the_wait_for_a_probe() -> None:
    progress = replicating(match=5)
    progress.sent(Index(9), 1)
    progress.rejected(Index(9), Index(6))
    progress.probe_sent = True
    assert not progress.acknowledged(Index(5))
    assert progress.probe_sent


def test_a_mismatch_while_pipelining_goes_back_to_what_is_known() -> None:
    progress = replicating(match=5)
    progress.sent(Index(9), 1)
    assert progress.rejected(Index(9), Index(3))
    assert progress.mode is Mode.PROBE
    assert progress.next == 6


def test_a_late_mismatch_means_nothing() -> None:
    progress = replicating(match=5)
    assert not progress.rejected(Index(4), Index(1))
    assert progress.mode is Mode.REPLICATE
    probing = Progress(Index(10))
    assert not probing.rejected(Index(7), Index(3))
    assert probing.next == 10


def test_a_probe_steps_back_to_where_the_hint_says_but_never_before_the_match() -> None:
    progress = Progress(Index(10))
    assert progress.rejected(Index(9), Index(4))
    assert progress.next == 4
    progress.match = Index(2)
    assert progress.rejected(Index(3), Index(1))
    assert progress.next == 3


def test_a_hint_that_does_not_lead_back_still_makes_progress() -> None:
    progress = Progress(Index(10))
    assert progress.rejected(Index(9), Index(99))
    assert progress.next == 9


def test_a_window_that_does_not_move_is_asked_about_and_not_taken_back() -> None:
    progress = replicating(match=5)
    progress.sent(Index(9), 1)
    assert not progress.is_stalled()
    assert progress.is_stalled()
    progress.send_again()
    assert progress.mode is Mode.REPLICATE
    assert progress.next == 10
    assert progress.inquiry_due


def test_a_lost_probe_is_sent_again_where_it_was() -> None:
    progress = Progress(Index(10))
    progress.probe_sent = True
    progress.send_again()
    assert not progress.probe_sent
    assert progress.next == 10, "back to the match would be back to the beginning, or a snapshot"


def test_a_follower_that_moves_is_not_stalled() -> None:
    progress = replicating(match=5)
    progress.sent(Index(9), 1)
    assert not progress.is_stalled()
    progress.acknowledged(Index(6))
    assert not progress.is_stalled()


def test_the_same_piece_wanted_again_sends_nothing_until_the_transfer_stalls() -> None:
    progress = Progress(Index(1))
    progress.begin_snapshot(SNAPSHOT)
    progress.offset_next = 400
    progress.wants(100)
    for _ in range(3):
        progress.wants(100)
    assert (progress.offset_acked, progress.offset_next) == (100, 400)
    progress.send_again()
    assert progress.offset_next == 100


def test_a_follower_that_lost_what_it_had_gets_the_snapshot_from_the_start() -> None:
    progress = Progress(Index(1))
    progress.begin_snapshot(SNAPSHOT)
    progress.offset_next = 400
    progress.wants(300)
    progress.wants(0)
    progress.send_again()
    assert (progress.offset_acked, progress.offset_next) == (0, 0)


def test_pipelining_after_a_snapshot_begins_behind_it() -> None:
    progress = Progress(Index(1))
    progress.begin_snapshot(SNAPSHOT)
    progress.acknowledged(SNAPSHOT.index)
    progress.replicate()
    assert (progress.mode, progress.next, progress.snapshot) == (Mode.REPLICATE, 51, None)
