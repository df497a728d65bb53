"""What a node does that a leader speaks to (sections 3.5 and 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from felix.core.raft.membership import Memberships
from felix.core.raft.standing import Role, Standing
from felix.proto.ids import Index, NodeId
from felix.proto.raft import (
    AnyPeerMessage,
    AppendEntries,
    AppendReply,
    Divergence,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    SnapshotMeta,
    SnapshotReply,
)


class Following(Standing):
    """Takes the leader's log."""

    def snapshot_received(self, chunk: InstallSnapshot, next_offset: int) -> None:
        """Report that a chunk was put down, and which byte is wanted next."""
        self._replies.append(
            SnapshotReply(
                self.id, chunk.sender, self.term, chunk.meta.index, next_offset, installed=False
            )
        )

    def snapshot_installed(self, chunk: InstallSnapshot) -> None:
        """Report that a snapshot is complete, verified and durable, and the journal points to it.

        The caller replaces its state machine by the snapshot before it applies anything more.
        """
        meta = chunk.meta
        assert self.wants_snapshot(meta)
        self.log.restart_after(meta)
        self.commit = self.applied = meta.index
        self._memberships = Memberships(meta.index, meta.membership)
        self.checkpoints.clear()
        self.diverged_at = None  # what was wrong has just been replaced
        self.snapshot = meta
        self._replies.append(
            SnapshotReply(
                self.id, chunk.sender, self.term, meta.index, meta.size_bytes, installed=True
            )
        )

    def wants_snapshot(self, meta: SnapshotMeta) -> bool:
        """Say whether a snapshot holds entries that are not here; if not, leave it alone.

        Installing one forgets what follows it in the log, and if the log holds the snapshot's last
        entry, what follows may have been acknowledged already.
        """
        return meta.index > self.commit and self.log.term_at(meta.index) != meta.term

    def _hear_leader(self, sender: NodeId) -> None:
        if self.role is not Role.FOLLOWER or self.leader_id != sender:
            assert self._leader is None, f"two leaders in term {self.term}"
            self._follow(self.term, sender)
        self._elapsed = 0

    def _on_append(self, message: AppendEntries) -> None:
        self._hear_leader(message.sender)
        log = self.log
        if message.prev_index < self.commit:
            self._accept(message.sender, self.commit)
        elif log.term_at(message.prev_index) == message.prev_term:
            self._take_memberships(log.merge(message.entries, self.commit))
            last = Index(message.prev_index + len(message.entries))
            self.commit = max(self.commit, Index(min(message.commit, last)))
            self._accept(message.sender, last)
        else:
            index, term = log.last_possible_match(
                Index(min(message.prev_index, log.last_index)), message.prev_term
            )
            self._replies.append(
                AppendReply(
                    self.id,
                    message.sender,
                    self.term,
                    accepted=False,
                    index=index,
                    hint_term=term,
                    rejected_prev=message.prev_index,
                )
            )

    def _accept(self, leader: NodeId, index: Index) -> None:
        self._replies.append(AppendReply(self.id, leader, self.term, accepted=True, index=index))

    def _on_heartbeat(self, message: Heartbeat) -> None:
        self._hear_leader(message.sender)
        # Never beyond what this node is known to have, so the entries are the leader's.
        self.commit = max(self.commit, Index(min(message.commit, self.log.last_index)))
        if message.echo is not None and self._life <= message.echo <= self._ticks:
            self._staleness.note(message.echo - message.age_ticks, message.leader_commit)
        if message.round:
            self._messages.append(
                HeartbeatReply(
                    self.id,
                    message.sender,
                    self.term,
                    message.round,
                    self._ticks,
                    message.stamp,
                    self.checkpoints.newest,
                )
            )

    def _on_install_snapshot(self, message: InstallSnapshot) -> None:
        self._hear_leader(message.sender)
        meta = message.meta
        if meta.index > self.commit and self.log.term_at(meta.index) == meta.term:
            self.commit = meta.index  # everything in it is here already
        if meta.index <= self.commit:
            self._replies.append(
                SnapshotReply(
                    self.id, message.sender, self.term, meta.index, meta.size_bytes, installed=True
                )
            )
        else:
            self._chunks.append(message)

    def _on_divergence(self, message: Divergence) -> None:
        if message.sender == self.leader_id and self.checkpoints.contradicts(message.checkpoint):
            self.diverged_at = message.checkpoint

    HANDLERS: ClassVar[dict[type[AnyPeerMessage], Callable[[Any, Any], None]]] = {
        AppendEntries: _on_append,
        Heartbeat: _on_heartbeat,
        InstallSnapshot: _on_install_snapshot,
        Divergence: _on_divergence,
    }
