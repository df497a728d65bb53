"""Deliberate bugs: a simulator that does not find these would not find others.

Each breaks one rule of the algorithm in the production core. The seeds are always the same, so that
a test that fails says something about the simulator and not about chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from felix.core.raft import quorum
from felix.core.raft.core import RaftCore
from felix.core.raft.leader import Leader
from felix.core.raft.log import RaftLog
from felix.core.raft.ready import Ready
from felix.proto.ids import Index, Term
from felix.proto.raft import AppendEntries, Entry, HardState
from felix.storage.ports import Recovered
from tests.simulator.disk import TransparentJournal
from tests.simulator.runner import run_seeds

pytestmark = pytest.mark.slow

FIRST_SEED = 600_000
SEEDS_MAX = 400

Patch = Callable[[pytest.MonkeyPatch], None]


def commit_by_counting_an_earlier_term(patch: pytest.MonkeyPatch) -> None:
    def commit_index(self: Leader, commit: Index) -> Index:
        return Index(max(commit, quorum.agreed(self._membership, self._match_of)))

    patch.setattr(Leader, "commit_index", commit_index)


def forget_the_vote_in_a_restart(patch: pytest.MonkeyPatch) -> None:
    recover = TransparentJournal.recover

    def without_vote(self: TransparentJournal) -> Recovered:
        recovered = recover(self)
        return msgspec.structs.replace(
            recovered, hard_state=HardState(recovered.hard_state.term, None)
        )

    patch.setattr(TransparentJournal, "recover", without_vote)


def reply_before_the_write(patch: pytest.MonkeyPatch) -> None:
    ready = RaftCore.ready

    def hasty(self: RaftCore) -> Ready | None:
        found = ready(self)
        if found is None:
            return None
        return msgspec.structs.replace(
            found, messages=(*found.messages, *found.replies), replies=()
        )

    patch.setattr(RaftCore, "ready", hasty)


def read_without_asking_a_quorum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leader, "confirmed_round", lambda self: self.reads.round)


def read_before_the_own_term_has_committed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leader, "_has_committed_in_its_term", lambda self, commit: True)


def append_without_checking_what_comes_before(patch: pytest.MonkeyPatch) -> None:
    def on_append(self: RaftCore, message: AppendEntries) -> None:
        self._hear_leader(message.sender)
        if self.commit <= message.prev_index <= self.log.last_index:
            self.log.merge(message.entries, self.commit)
            last = Index(message.prev_index + len(message.entries))
            self.commit = max(self.commit, Index(min(message.commit, last)))
            self._accept(message.sender, last)

    handlers: dict[type[Any], Callable[..., None]] = dict(RaftCore._HANDLERS)
    handlers[AppendEntries] = on_append
    patch.setattr(RaftCore, "_HANDLERS", handlers)


def let_a_late_append_shorten_the_log(patch: pytest.MonkeyPatch) -> None:
    def merge(self: RaftLog, entries: Sequence[Entry], committed: Index) -> None:
        if entries:
            self._truncate_from(entries[0].index)
            self.append(entries)

    patch.setattr(RaftLog, "merge", merge)


def vote_for_anyone(patch: pytest.MonkeyPatch) -> None:
    def is_up_to_date(self: RaftLog, last_index: Index, last_term: Term) -> bool:
        return True

    patch.setattr(RaftLog, "is_up_to_date", is_up_to_date)


def apply_what_is_not_committed(patch: pytest.MonkeyPatch) -> None:
    ready = RaftCore.ready

    def eager(self: RaftCore) -> Ready | None:
        commit, self.commit = self.commit, self.log.persisted
        found = ready(self)
        self.commit = commit
        return found

    patch.setattr(RaftCore, "ready", eager)


@pytest.mark.parametrize(
    "mutation",
    [
        commit_by_counting_an_earlier_term,
        forget_the_vote_in_a_restart,
        reply_before_the_write,
        read_without_asking_a_quorum,
        read_before_the_own_term_has_committed,
        append_without_checking_what_comes_before,
        let_a_late_append_shorten_the_log,
        vote_for_anyone,
        apply_what_is_not_committed,
    ],
)
def test_the_simulator_finds_a_node_that_would(
    mutation: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    results = run_seeds(range(FIRST_SEED, FIRST_SEED + SEEDS_MAX))
    assert results.failures, f"seeds {FIRST_SEED} to {FIRST_SEED + SEEDS_MAX} all passed"
