"""Where a node stands: its log, its term, its membership, and what it is about to say.

What electing, following and leading have in common; `felix.core.raft.core` puts them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from random import Random

from felix.core.raft import membership as memberships
from felix.core.raft.config import RaftConfig
from felix.core.raft.divergence import Checkpoints
from felix.core.raft.leader import Leader
from felix.core.raft.log import RaftLog
from felix.core.raft.membership import Memberships
from felix.core.raft.ready import ReadRelease
from felix.core.raft.staleness import Staleness
from felix.proto import codec
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import (
    AnyPeerMessage,
    Checkpoint,
    Entry,
    EntryKind,
    HardState,
    InstallSnapshot,
    Membership,
    SnapshotMeta,
)


class Role(Enum):
    """What a node is in its term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Standing:
    """The state of one node's core."""

    def __init__(
        self,
        node_id: NodeId,
        membership: Membership,
        config: RaftConfig,
        random: Random,
        *,
        hard_state: HardState,
        snapshot: SnapshotMeta | None,
        entries: Sequence[Entry],
    ) -> None:
        """Take up what the journal recovered.

        `membership` counts only where neither the snapshot nor the log knows one.
        """
        self.id = node_id
        self.snapshot = snapshot
        self.log = RaftLog(snapshot, entries)
        self._memberships = Memberships(
            snapshot.index if snapshot else Index(0),
            snapshot.membership if snapshot else membership,
        )
        reached = snapshot.index if snapshot else 0
        self._memberships.take([entry for entry in entries if entry.index > reached])
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = Role.FOLLOWER
        self.leader_id: NodeId | None = None
        self.commit = self.applied = snapshot.index if snapshot else Index(0)
        """`applied` is the last entry handed out to be applied."""
        self.checkpoints = Checkpoints()
        """Kept up to date by whoever applies."""
        self.dismissed_at: Index | None = None
        """Set once this node was removed: it must stop."""
        self.diverged_at: Checkpoint | None = None
        """Set while a majority has something else than this node: it must stop."""
        self.config = config
        self._random = random
        self._saved = hard_state
        self._leader: Leader | None = None
        self._votes: dict[NodeId, bool] = {}
        self._elapsed = 0
        self._heartbeat_elapsed = 0
        self._timeout = 0
        self._reads_asked: dict[int, int] = {}
        """Own reads forwarded to the leader, and the ticks since."""
        self._life = random.getrandbits(48)
        """Sent with them, so that no answer to a read of an earlier life releases one of this."""
        self._ticks = self._life
        """The clock of this life: stamps of an earlier one are not mistaken for its own."""
        self._staleness = Staleness()
        self._messages: list[AnyPeerMessage] = []
        self._replies: list[AnyPeerMessage] = []
        self._chunks: list[InstallSnapshot] = []
        self._reads: list[ReadRelease] = []
        self._writing = False
        self._draw_timeout()

    @property
    def membership(self) -> Membership:
        """Who takes part: the last membership in the log, committed or not."""
        return self._memberships.current

    def membership_at(self, index: Index) -> Membership:
        """Who took part once `index` was the last entry; not before the snapshot."""
        return self._memberships.at(index)

    @property
    def change_is_under_way(self) -> bool:
        """Whether a change of the membership is not committed, or half done."""
        return self._memberships.index > self.commit or memberships.is_joint(self.membership)

    @property
    def is_transferring(self) -> bool:
        """Whether this node is handing leadership over: writes must wait."""
        return self._leader is not None and self._leader.transfer is not None

    @property
    def is_leader(self) -> bool:
        """Whether this node leads in its term."""
        return self._leader is not None

    @property
    def leader(self) -> Leader | None:
        """What this node knows as a leader, while it is one."""
        return self._leader

    @property
    def hears_a_leader(self) -> bool:
        """Whether this node leads, or heard from its leader within the shortest timeout."""
        return self.leader_id is not None and self._elapsed < self.config.election_ticks_min

    @property
    def ticks_since_heard(self) -> int | None:
        """Ticks since this node heard from the leader that it follows; None without one."""
        follows = self.leader_id is not None and self._leader is None
        return self._elapsed if follows else None

    def ticks_since_current(self, applied: Index) -> int | None:
        """Ticks since a moment of which this node has everything; None if there is none.

        That is: with `applied` applied, its state holds all that was committed anywhere by then.
        """
        if self._leader is not None and self._leader.has_committed_in_its_term(self.commit):
            self._staleness.note(self._ticks - self._leader.age_ticks(), self.commit)
        as_of = self._staleness.as_of(applied)
        return None if as_of is None else self._ticks - as_of

    @property
    def ticks_until_due(self) -> int:
        """Ticks until something is to be done if nothing is heard; at least one."""
        if self._leader is not None:
            return max(1, self.config.heartbeat_ticks - self._heartbeat_elapsed)
        return max(1, self._timeout - self._elapsed)

    def _follow(self, term: Term, leader: NodeId | None) -> None:
        if term > self.term:
            self.term = term
            self.vote = None
        if leader != self.leader_id:
            self._fail_reads_asked()
        if self._leader is not None:
            for request in self._leader.reads.drain():
                if request.requester == self.id:
                    self._reads.append(ReadRelease(request.context, None))
            self._leader = None
        self.role = Role.FOLLOWER
        self.leader_id = leader
        self._votes = {}
        self._elapsed = 0
        self._draw_timeout()

    def _draw_timeout(self) -> None:
        self._timeout = self._random.randint(
            self.config.election_ticks_min, self.config.election_ticks_max
        )

    def _peers(self) -> list[NodeId]:
        voters = {*self.membership.voters, *self.membership.outgoing}
        return sorted(voter for voter in voters if voter != self.id)

    def _append(self, entries: list[Entry]) -> Index:
        self.log.append(entries)
        self._take_memberships(entries)
        return entries[0].index

    def _take_memberships(self, entries: Sequence[Entry]) -> None:
        """Go by the membership that the log ends with now (section 4.1)."""
        if self._memberships.take(entries) and self._leader is not None:
            self._leader.follow(self.membership)

    def _membership_entry(self, term: Term, membership: Membership) -> Entry:
        index = Index(self.log.last_index + 1)
        return Entry(index, term, EntryKind.MEMBERSHIP, codec.encode(membership))

    def _fail_reads_asked(self) -> None:
        self._reads.extend(ReadRelease(context, None) for context in self._reads_asked)
        self._reads_asked.clear()
