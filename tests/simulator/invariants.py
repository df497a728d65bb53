"""What must hold after every step of every node, whatever goes wrong.

The checker sees everything at once, disks included, and remembers what it saw. Names of the
properties are those of figure 3.2 of Ongaro's dissertation.
"""

from __future__ import annotations

from bisect import bisect_right

from felix.core.raft.core import RaftCore
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    AnyPeerMessage,
    Entry,
    EntryKind,
    HardState,
    HeartbeatReply,
    ReadIndexReply,
    RequestVote,
    SnapshotMeta,
    TimeoutNow,
    VoteReply,
)
from tests.simulator.coverage import Coverage
from tests.simulator.disk import Disk, TransparentJournal
from tests.simulator.electorate import Electorate, InvariantBroken
from tests.simulator.machine import REGISTERS, Machine, command_number, next_digest
from tests.simulator.tail import Tail

NUMBERS_KEPT = 10_000
"""Commands that are older than so many have met their fate."""


class _Seen:
    """What was last seen of one node in one life."""

    def __init__(self) -> None:
        self.term = Term(0)
        self.last = Index(0)
        """The end of its log."""
        self.commit = Index(0)
        self.leads_in: Term | None = None


class Checker:
    """Compares every node, after every step, with what is known of the whole cluster."""

    def __init__(self, disks: dict[NodeId, Disk], coverage: Coverage) -> None:
        """`disks` are those of all nodes, also of nodes that lost theirs, as they last were."""
        self._disks = disks
        self.electorate = Electorate(disks, coverage)
        self._seen: dict[NodeId, _Seen] = {}
        self._lives: dict[NodeId, int] = {}
        self._leaders: dict[Term, tuple[NodeId, int]] = {}
        self._votes: dict[tuple[NodeId, Term], NodeId] = {}
        self._entries: dict[tuple[Index, Term], tuple[EntryKind, bytes, Term]] = {}
        """Every entry ever written, with the term of the one before it (log matching)."""
        self.committed: Tail[Term] = Tail([Term(0)])
        """The term of each committed entry, by index."""
        self._committed_in: dict[Term, Index] = {}
        """How far the leader of each term has committed."""
        self._digests: Tail[bytes] = Tail([b""])
        self._commands: set[int] = set()
        self._refused: set[int] = set()
        self._written: list[list[tuple[Index, int]]] = [[(Index(0), 0)] for _ in range(REGISTERS)]
        """The values of each register, and the index from which on each holds."""

    # --- consensus ----------------------------------------------------------------------------

    def restarted(self, node_id: NodeId) -> None:
        """Forget what a node had in memory."""
        self._seen[node_id] = _Seen()
        self._lives[node_id] = self._lives.get(node_id, 0) + 1

    def stepped(self, core: RaftCore) -> None:
        """Check a node after it took in something."""
        seen = self._seen[core.id]
        if core.term < seen.term:
            raise InvariantBroken(f"{core.id} went back from term {seen.term} to {core.term}")
        seen.term = core.term
        if core.is_leader:
            self._check_leader(core, seen)
        else:
            seen.leads_in = None
        if core.commit != seen.commit:
            self._check_commit(core, seen)
        if core.is_leader:
            self._check_appended(core, seen)
        seen.last = core.log.last_index

    def _check_leader(self, core: RaftCore, seen: _Seen) -> None:
        if seen.leads_in == core.term:
            if core.log.last_index < seen.last:
                raise InvariantBroken(f"{core.id} leads and its log shrank below {seen.last}")
        else:
            this = (core.id, self._lives[core.id])
            other = self._leaders.setdefault(core.term, this)
            if other != this:
                raise InvariantBroken(f"term {core.term} has two leaders: {other} and {this}")
            self.electorate.elected(core, self._votes)
            self._check_leader_completeness(core)
            seen.leads_in = core.term

    def _check_appended(self, core: RaftCore, seen: _Seen) -> None:
        last = core.log.last_index
        if last > seen.last:
            first = Index(max(seen.last + 1, core.log.first_index))
            self.electorate.appended(core, core.log.slice(first, last))

    def _check_leader_completeness(self, core: RaftCore) -> None:
        earlier = (index for term, index in self._committed_in.items() if term < core.term)
        index = max(earlier, default=Index(0))
        if index >= core.log.first_index and core.log.term_at(index) != self.committed[index]:
            raise InvariantBroken(f"{core.id} leads in {core.term} without committed entry {index}")

    def _check_commit(self, core: RaftCore, seen: _Seen) -> None:
        if core.commit < seen.commit:
            raise InvariantBroken(f"{core.id} took back its commit of {seen.commit}")
        for number in range(max(seen.commit + 1, core.log.first_index), core.commit + 1):
            index = Index(number)
            term = core.log.term_at(index)
            if term is None:
                raise InvariantBroken(f"{core.id} committed {index}, which it does not have")
            if index < len(self.committed):
                if term != self.committed[index]:
                    raise InvariantBroken(
                        f"{core.id} committed {index} of term {term}, "
                        f"others that of term {self.committed[index]}"
                    )
            else:
                self._check_durable(core, seen, index, term)
                self.committed.append(term)
                self.electorate.commit(core, index, term)
        if core.is_leader and core.log.term_at(core.commit) != core.term:
            raise InvariantBroken(f"{core.id} committed {core.commit} of an earlier term itself")
        self._committed_in[core.term] = max(
            core.commit, self._committed_in.get(core.term, Index(0))
        )
        seen.commit = core.commit

    def _check_durable(self, core: RaftCore, seen: _Seen, index: Index, term: Term) -> None:
        """Check who has it, by the membership in force before this step added another."""
        if index != len(self.committed):
            raise InvariantBroken(f"{core.id} committed {index} before what precedes it")
        _, membership = self.electorate.in_force(core, max(seen.last, index))
        self.electorate.require(
            membership,
            lambda voter: self._disks[voter].journal.has(index, term),
            f"{core.id} committed {index}, held",
        )

    # --- disks and messages -------------------------------------------------------------------

    def writing(self, node_id: NodeId, hard_state: HardState | None, new: tuple[Entry, ...]) -> int:
        """Check what is about to be written; return how many entries it drops from the disk."""
        journal = self._disks[node_id].journal
        if hard_state is not None:
            old = journal.hard_state
            changed = old.vote is not None and hard_state.vote != old.vote
            if hard_state.term < old.term or (hard_state.term == old.term and changed):
                raise InvariantBroken(f"{node_id} writes {hard_state} over {old}")
        if not new:
            return 0
        self._check_log_matching(journal, new)
        self.electorate.note(new)
        dropped = journal.last_index + 1 - new[0].index
        if dropped > 0:
            self._check_dropped(node_id, new[0].index, {one.index: one.term for one in new})
            self.electorate.dropping(journal, new[0].index)
        return dropped

    def _check_log_matching(self, journal: TransparentJournal, new: tuple[Entry, ...]) -> None:
        term_before = journal.term_at(Index(new[0].index - 1))
        if term_before is None:
            raise InvariantBroken(f"a hole is written before {new[0].index}")
        for entry in new:
            this = (entry.kind, entry.data, term_before)
            known = self._entries.setdefault((entry.index, entry.term), this)
            if known != this:
                raise InvariantBroken(f"entry {entry.index} of term {entry.term} is not unique")
            term_before = entry.term

    def _check_dropped(self, node_id: NodeId, start: Index, new: dict[Index, Term]) -> None:
        journal = self._disks[node_id].journal
        for number in range(start, min(journal.last_index + 1, len(self.committed))):
            index = Index(number)
            term = self.committed[index]
            if journal.has(index, term) and new.get(index) != term:
                raise InvariantBroken(f"{node_id} drops committed entry {index} from its disk")

    def installing(self, node_id: NodeId, meta: SnapshotMeta) -> None:
        """Check that a node does not lose committed entries to an older snapshot."""
        self.electorate.check_snapshot(node_id, meta)
        self._check_dropped(node_id, Index(meta.index + 1), {})

    def sending(self, message: AnyPeerMessage, core: RaftCore) -> None:
        """Check that what is promised is on the disk of the one who promises, and unique."""
        if isinstance(message, HeartbeatReply):
            self.electorate.answered_round(message.sender, message.term, message.round)
            return
        if isinstance(message, ReadIndexReply) and message.index and core.is_leader:
            self.electorate.confirmed(core, self._seen[core.id].last)
            return
        if isinstance(message, TimeoutNow):
            self._check_successor(message, core)
            return
        if isinstance(message, RequestVote):
            candidate = message.sender
        elif isinstance(message, VoteReply) and message.granted:
            candidate = message.to
        else:
            return
        durable = self._disks[message.sender].journal.hard_state
        vote = HardState(message.term, candidate)
        if durable.term <= message.term and durable != vote:
            raise InvariantBroken(f"{message.sender} says {vote} but its disk says {durable}")
        other = self._votes.setdefault((message.sender, message.term), candidate)
        if other != candidate:
            raise InvariantBroken(
                f"{message.sender} voted for {other} and {candidate} in term {message.term}"
            )

    def confirmed(self, core: RaftCore) -> None:
        """Check that a leader lets its own reads go because a quorum answered."""
        self.electorate.confirmed(core, self._seen[core.id].last)

    def _check_successor(self, message: TimeoutNow, core: RaftCore) -> None:
        """Check that a successor can win; one that cannot would cost an election timeout."""
        last = core.log.last_index if core.is_leader else core.commit
        term = core.log.term_at(last)
        assert term is not None
        if not self._disks[message.to].journal.has(last, term):
            raise InvariantBroken(f"{core.id} calls {message.to}, which does not have {last}")

    # --- state machines -----------------------------------------------------------------------

    def applied(self, node_id: NodeId, entry: Entry, machine: Machine) -> None:
        """Check a machine after it applied an entry (state-machine safety)."""
        index = entry.index
        if index >= len(self.committed) or entry.term != self.committed[index]:
            raise InvariantBroken(f"{node_id} applied {index}, which is not committed")
        if index == len(self._digests):
            self._digests.append(next_digest(self._digests[index - 1], entry))
            if entry.kind is EntryKind.COMMAND:
                number = command_number(entry.data)
                if number in self._commands or number in self._refused:
                    raise InvariantBroken(f"command {number} is committed twice, or was refused")
                self._commands.add(number)
                self._written[number % REGISTERS].append((index, number))
        self.restored(node_id, machine)

    def restored(self, node_id: NodeId, machine: Machine) -> None:
        """Check a whole state against what everyone else had at that index."""
        index = machine.state.index
        if machine.is_wrong:
            return  # on purpose; it must be found out
        if index == 0 and machine.state.digest == b"":
            return
        if index >= len(self._digests) or machine.state.digest != self._digests[index]:
            raise InvariantBroken(f"the state of {node_id} at {index} is not that of the others")

    def refused(self, number: int) -> None:
        """Note that a client was told that its command has no effect and will have none."""
        if number in self._commands:
            raise InvariantBroken(f"command {number} was refused and is committed")
        self._refused.add(number)

    def term_of(self, index: Index) -> Term:
        """Look up the term of a committed entry."""
        return self.committed[index]

    def forget_before(self, index: Index, term: Term, gone: set[NodeId]) -> None:
        """Forget what came before `index` and `term`, which no node goes back to."""
        self.electorate.forget_before(index, term, gone)
        self.committed.forget_before(index)
        self._digests.forget_before(index)
        self._entries = {at: one for at, one in self._entries.items() if at[0] >= index}
        self._leaders = {at: one for at, one in self._leaders.items() if at >= term}
        self._votes = {at: one for at, one in self._votes.items() if at[1] >= term}
        self._committed_in = {at: one for at, one in self._committed_in.items() if at >= term}
        oldest = max(self._commands, default=0) - NUMBERS_KEPT
        self._commands = {one for one in self._commands if one > oldest}
        self._refused = {one for one in self._refused if one > oldest}
        for written in self._written:
            del written[: bisect_right(written, (index, 1 << 62)) - 1]
        for node_id in gone:
            self._seen.pop(node_id, None)
            self._lives.pop(node_id, None)

    def value_at(self, register: int, index: Index) -> int:
        """Look up what a register holds once `index` is applied."""
        written = self._written[register]
        return written[bisect_right(written, (index, 1 << 62)) - 1][1]
