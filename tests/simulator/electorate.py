"""Who has a say, worked out from the entries alone and not from what a core believes.

Checked here: elections, commits and reads need a majority of each half of the membership in force
in the log of whoever leads, and a membership changes one step at a time (chapter 4).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable

from felix.core.raft import membership as memberships
from felix.core.raft.core import RaftCore
from felix.core.raft.quorum import majority
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Entry, EntryKind, Membership, SnapshotMeta
from tests.simulator.coverage import Coverage
from tests.simulator.disk import Disk, TransparentJournal


class InvariantBroken(AssertionError):
    """Consensus did what it must never do."""


def nothing() -> None:
    """Do nothing."""


class Electorate:
    """Every membership that was ever in a log, and those that are committed."""

    def __init__(self, disks: dict[NodeId, Disk], coverage: Coverage) -> None:
        self._disks = disks
        self._coverage = coverage
        self._known: dict[tuple[Index, Term], Membership] = {}
        self._places: list[tuple[Index, Term]] = []
        """The keys of `_known`, sorted."""
        self._committed: list[tuple[Index, Membership]] = [(Index(0), Membership(()))]
        self._rounds: dict[tuple[NodeId, Term], int] = {}
        """The last heartbeat round that each node answered in a term."""
        self.removed: set[NodeId] = set()
        self.on_change: Callable[[], None] = nothing
        """Called when a leader begins or goes on with a change."""

    @property
    def committed(self) -> Membership:
        """The newest that is committed."""
        return self._committed[-1][1]

    @property
    def committed_index(self) -> Index:
        """Where that one stands."""
        return self._committed[-1][0]

    def committed_at(self, index: Index) -> Membership:
        """Look up the one in force once `index` was the last entry, all of it committed."""
        place = bisect_right(self._committed, index, key=lambda one: one[0])
        return self._committed[place - 1][1]

    def note(self, entries: Iterable[Entry]) -> None:
        """Remember the memberships among entries."""
        for entry in entries:
            place = (entry.index, entry.term)
            if entry.kind is EntryKind.MEMBERSHIP and place not in self._known:
                self._known[place] = memberships.decode(entry)
                insort(self._places, place)

    def in_force(self, core: RaftCore, last: Index) -> tuple[Index, Membership]:
        """Find the last membership of a node's log up to `last`, and where it stands."""
        log = core.log
        for index, term in reversed(self._places):
            if index < log.first_index:
                break
            if index <= last and log.term_at(index) == term:
                return index, self._known[index, term]
        start = Index(log.first_index - 1)
        place = bisect_right(self._committed, start, key=lambda one: one[0])
        return self._committed[place - 1]

    def require(self, membership: Membership, having: Callable[[NodeId], bool], what: str) -> None:
        """Require a majority of each half. Raises: InvariantBroken."""
        for half in (membership.voters, membership.outgoing):
            those = [voter for voter in half if having(voter)]
            if half and len(those) < majority(half):
                raise InvariantBroken(f"{what} by {those} of {half}")

    # --- leaders ------------------------------------------------------------------------------

    def elected(self, core: RaftCore, votes: dict[tuple[NodeId, Term], NodeId]) -> None:
        """Check that a new leader has the votes of a quorum."""
        self.check_in_force(core)
        membership = core.membership

        def voted(voter: NodeId) -> bool:
            if voter == core.id:
                hard_state = self._disks[voter].journal.hard_state
                return (hard_state.term, hard_state.vote) == (core.term, core.id)
            return votes.get((voter, core.term)) == core.id

        self.require(membership, voted, f"{core.id} was elected in {core.term}")

    def appended(self, core: RaftCore, entries: list[Entry]) -> None:
        """Check what a leader appended to its log."""
        self.note(entries)
        for entry in entries:
            if entry.kind is not EntryKind.MEMBERSHIP:
                continue
            new = self._known[entry.index, entry.term]
            before_index, before = self.in_force(core, Index(entry.index - 1))
            what = f"{core.id} changes {before} at {before_index} to {new}"
            if before_index > core.commit:
                raise InvariantBroken(f"{what} while one is under way")
            if core.log.term_at(core.commit) != core.term:
                raise InvariantBroken(f"{what} before it has committed in its term")
            if new != core.membership:
                raise InvariantBroken(f"{what}, and goes by {core.membership}")
            self._check_step(before, new, what)
            self.on_change()

    def _check_step(self, before: Membership, new: Membership, what: str) -> None:
        if before.outgoing:
            is_allowed = not new.outgoing and new.voters == before.voters
        elif new.outgoing:
            is_allowed = new.outgoing == before.voters
        else:
            is_allowed = new.voters == before.voters
        came = {*new.voters} - {*before.voters}
        if not is_allowed or len(came) > 1 or not came <= {*before.learners}:
            raise InvariantBroken(f"{what} in one step")
        for promoted in came:
            taken_in = next(
                index
                for index, one in self._committed
                if memberships.member(one, promoted) is not None
            )
            if self._disks[promoted].journal.last_index < taken_in:
                raise InvariantBroken(f"{what}: {promoted} has not caught up")

    def answered_round(self, sender: NodeId, term: Term, round_: int) -> None:
        """Note that a node follows a leader."""
        self._rounds[sender, term] = max(round_, self._rounds.get((sender, term), 0))

    def confirmed(self, core: RaftCore, last: Index) -> None:
        """Check that a quorum answered the round after which a leader lets reads go."""
        assert core.leader is not None
        round_ = core.leader.reads.round
        _, membership = self.in_force(core, last)
        self.require(
            membership,
            lambda voter: voter == core.id or self._rounds.get((voter, core.term), 0) >= round_,
            f"a read at {core.id} was confirmed",
        )

    # --- what is committed --------------------------------------------------------------------

    def commit(self, core: RaftCore, index: Index, term: Term) -> None:
        """Note that an entry is committed; of memberships, what it changes."""
        new = self._known.get((index, term))
        if new is None:
            return
        before = self.committed
        self._committed.append((index, new))
        old, now = {*memberships.everyone(before)}, {*memberships.everyone(new)}
        if self.removed & now:
            raise InvariantBroken(f"{self.removed & now} takes part again, at {index}")
        gone = old - now
        self.removed |= gone
        if not before.voters:
            return  # the founding
        coverage = self._coverage
        coverage.learners_added += len(now - old)
        coverage.learners_promoted += len({*new.voters} - {*before.voters})
        coverage.joint_configurations += bool(new.outgoing)
        coverage.leaders_removed += core.id in gone
        names = {one.name for one in new.members}
        for one in before.members:
            if one.id in gone:
                coverage.members_replaced += one.name in names
                coverage.members_removed += one.name not in names
        here = {one.id: one.addresses for one in before.members}
        coverage.addresses_changed += any(
            here.get(one.id, one.addresses) != one.addresses for one in new.members
        )

    def check_snapshot(self, node_id: NodeId, meta: SnapshotMeta) -> None:
        """Check that a snapshot carries the membership of its moment."""
        right = self.committed_at(meta.index)
        if meta.membership != right:
            raise InvariantBroken(
                f"the snapshot of {node_id} at {meta.index} has {meta.membership}, not {right}"
            )

    def check_dismissed(self, node_id: NodeId) -> None:
        """Check that who stops because it was removed was removed."""
        if node_id not in self.removed:
            raise InvariantBroken(f"{node_id} was dismissed and never removed")

    def check_in_force(self, core: RaftCore) -> None:
        """Check that a node goes by the last membership of its log, as it is now."""
        _, membership = self.in_force(core, core.log.last_index)
        if membership != core.membership:
            raise InvariantBroken(f"{core.id} goes by {core.membership}, its log has {membership}")

    def dropping(self, journal: TransparentJournal, start: Index) -> None:
        """Count the changes that another leader takes back."""
        for index, term in self._places:
            if index >= start and journal.term_at(index) == term:
                self._coverage.changes_taken_back += 1

    # --- forgetting ---------------------------------------------------------------------------

    def forget_before(self, index: Index, term: Term, gone: set[NodeId]) -> None:
        """Forget what no node can come back to."""
        place = bisect_right(self._committed, index, key=lambda one: one[0])
        del self._committed[: place - 1]
        self._places = [one for one in self._places if one[0] >= index]
        self._known = {one: self._known[one] for one in self._places}
        self._rounds = {key: round_ for key, round_ in self._rounds.items() if key[1] >= term}
        self.removed -= gone
