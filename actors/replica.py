"""This node's copy of the state machine: fed by consensus, written down, replaced, published."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from felix.actors.disk_space import DiskSpace
from felix.actors.messages import (
    ActorRef,
    Publish,
    SnapshotBegin,
    SnapshotChunkWritten,
    SnapshotEnd,
    SnapshotLoad,
    tell_if_alive,
)
from felix.actors.watch_position import Position, WatchPosition
from felix.core.catalog.catalog import Applied, Catalog
from felix.core.catalog.dump import Dump
from felix.core.raft.divergence import CHECKPOINT_ENTRIES
from felix.proto.commands import DeleteBrokerCredential, PutBrokerCredential
from felix.proto.ids import Epoch, Index, Term, Version
from felix.proto.levels import read_proposal
from felix.proto.raft import Entry, EntryKind, Membership, SnapshotMeta
from felix.proto.updates import RawUpdate

DUMP_SLICE_RECORDS = 250
"""Written down in one go: about 0.3 ms."""
SLICE_UPDATES: Final = 250
"""After so many updates the rest of a batch is applied in another turn: a broker that comes or goes
changes every stream that it has a copy of, and meanwhile peers want to hear from this node."""
_ABOUT_CREDENTIALS: Final = frozenset({PutBrokerCredential, DeleteBrokerCredential})

log = structlog.get_logger("felix.replica")


class Replica:
    """The catalog and what surrounds it; used by one thread."""

    def __init__(
        self,
        catalog: Catalog,
        last_term: Term,
        fanout: ActorRef,
        snapshots: ActorRef,
        me: ActorRef,
        shared: WatchPosition,
        checkpoint: Callable[[Index, str], None],
        disk_space: DiskSpace,
        credentials_changed: Callable[[Catalog], None] | None = None,
    ) -> None:
        """`last_term` is the term of the last applied entry; `me` gets the snapshots' messages.

        `checkpoint` hears what the catalog is after every so many entries. `credentials_changed`
        hears of a catalog that may say something else of how brokers prove who they are, the
        first one included.
        """
        self.catalog = catalog
        self._last_term = last_term
        self._fanout = fanout
        self._snapshots = snapshots
        self._me = me
        self._shared = shared
        self._checkpoint = checkpoint
        self._disk_space = disk_space
        self._waits_for_space = False
        self._credentials_changed = credentials_changed
        self._told = Version(0)
        self._knows_leader = False
        self.rows_kept = catalog.store.size
        """How many rows the newest snapshot holds; before the first one, those at the start."""
        self._dump: Dump | None = None
        self._loading: SnapshotMeta | None = None
        self._held: deque[tuple[Sequence[Entry], dict[Index, int]]] = deque()
        self.tell_position()
        if credentials_changed is not None:
            credentials_changed(catalog)

    @property
    def applied_term(self) -> Term:
        """The term of the last applied entry."""
        return self._last_term

    def attach(self, fanout: ActorRef, snapshots: ActorRef) -> None:
        """Go on with actors that were started anew: what was with the old ones is lost."""
        self._fanout = fanout
        self._snapshots = snapshots
        self._told = Version(0)
        self.tell_position()
        if self._dump is not None:
            self._give_up_dump(self._dump)
        if self._loading is not None:
            tell_if_alive(self._snapshots, SnapshotLoad(self._loading, self._me))

    def tell_standing(self, *, knows_leader: bool) -> None:
        """Say whether this node knows what is current."""
        self._knows_leader = knows_leader
        self.tell_position()

    def tell_age(self, age_s: float) -> None:
        """Say how long ago that was of which this node has everything, for bookmarks."""
        self._shared.current_at = time.monotonic() - age_s

    def apply(
        self,
        entries: Sequence[Entry],
        tokens: dict[Index, int],
        finished: Callable[[int, Applied], None],
    ) -> bool:
        """Apply entries in order, answer what was proposed here, then publish.

        While a snapshot is being loaded they are held back, and what is left of those that bring
        many updates; `catch_up` goes on with them. Says whether there were updates. Raises: TooOld.
        """
        if self._loading is not None or self._held:
            self._held.append((entries, tokens))
            return False
        return self._apply(entries, tokens, finished)

    @property
    def is_behind(self) -> bool:
        """Whether `catch_up` has something to do."""
        return bool(self._held) and self._loading is None

    def catch_up(self, finished: Callable[[int, Applied], None]) -> bool:
        """Apply the oldest entries that were held back; say whether there were updates."""
        entries, tokens = self._held.popleft()
        return self._apply(entries, tokens, finished)

    def _apply(
        self,
        entries: Sequence[Entry],
        tokens: dict[Index, int],
        finished: Callable[[int, Applied], None],
    ) -> bool:
        catalog = self.catalog
        updates: list[RawUpdate] = []
        answers: list[tuple[int, Applied]] = []
        credentials_changed = None
        wants_acks = False
        for position, entry in enumerate(entries, 1):
            if entry.kind is EntryKind.COMMAND:
                proposal = read_proposal(entry.index, entry.data)
                applied = catalog.apply(entry.index, proposal)
                if type(proposal.command) in _ABOUT_CREDENTIALS:
                    credentials_changed = self._credentials_changed
                updates.extend(applied.updates)
                wants_acks |= proposal.stamp.wants_acks
                token = tokens.get(entry.index)
                if token is not None:
                    answers.append((token, applied))
            else:
                catalog.skip(entry.index)
            if not entry.index % CHECKPOINT_ENTRIES:
                self._checkpoint(entry.index, catalog.proof)
            if len(updates) >= SLICE_UPDATES and position < len(entries):
                self._held.appendleft((entries[position:], tokens))
                break
        if credentials_changed is not None:
            credentials_changed(catalog)
        for answer in answers:  # one after the other: the socket's thread sends them as one
            finished(*answer)
        self._last_term = entry.term
        if updates:
            self._publish(tuple(updates), wants_acks=wants_acks)
        return bool(updates)

    def _publish(self, updates: tuple[RawUpdate, ...], *, wants_acks: bool) -> None:
        """Hand updates to the watch socket, unless nobody listens there."""
        catalog = self.catalog
        if self._shared.subscribers:
            self._told = Version(catalog.version)
            time_us = time.time_ns() // 1000
            message = Publish(Epoch(catalog.epoch), updates, catalog.digest, time_us, wants_acks)
            tell_if_alive(self._fanout, message)
        self.tell_position()

    def tell_position(self) -> None:
        """Write down where the catalog stands, for bookmarks."""
        catalog = self.catalog
        self._shared.move(
            Position(
                Epoch(catalog.epoch),
                Version(catalog.version),
                catalog.digest,
                self._told,
                self._knows_leader,
            )
        )

    def digest_at(self, epoch: int, version: int) -> str:
        """Give the digest at a version where a batch of this node ended; "" elsewhere."""
        return self._shared.digest_at(epoch, version)

    # --- snapshots of the log -----------------------------------------------------------------

    def begin_dump(self, membership: Membership) -> bool:
        """Start to write the catalog down as it is now; `dump_slice` goes on.

        `membership` is the one at the last applied entry. Says whether it has begun: a catalog that
        is about to be replaced is not worth it, and a disk that is nearly full has no room for it.
        """
        if self._loading is not None or not self._has_space():
            return False
        index = self.catalog.applied_index
        if not tell_if_alive(self._snapshots, SnapshotBegin(index, self._last_term, membership)):
            return False
        self._dump = Dump(self.catalog)
        self.rows_kept = self.catalog.store.size
        return True

    def _has_space(self) -> bool:
        is_low = self._disk_space.is_low
        if is_low and not self._waits_for_space:
            log.warning(
                "a snapshot is due, and waits until the disk has space again: "
                "the log cannot be trimmed meanwhile",
                free_mb=self._disk_space.free_mb,
            )
        self._waits_for_space = is_low
        return not is_low

    def dump_slice(self) -> bool:
        """Write the next slice; say whether there is more.

        With a writer that has failed the dump is given up; the next one begins after `attach`.
        """
        if self._dump is None:
            return False
        chunk = self._dump.step(DUMP_SLICE_RECORDS)
        if chunk is not None:
            if tell_if_alive(self._snapshots, SnapshotChunkWritten(chunk)):
                return True
            self._give_up_dump(self._dump)
            return False
        self._dump = None
        tell_if_alive(self._snapshots, SnapshotEnd(self._me))
        return False

    def _give_up_dump(self, dump: Dump) -> None:
        dump.close()
        self._dump = None

    def begin_load(self, snapshot: SnapshotMeta) -> bool:
        """Have a snapshot from the leader read by the snapshots' actor; hold everything until then.

        Says whether a dump was given up for it.
        """
        self._loading = snapshot
        self._held.clear()
        tell_if_alive(self._snapshots, SnapshotLoad(snapshot, self._me))
        given_up = self._dump is not None
        self._dump = None
        return given_up

    def loaded(self, snapshot: SnapshotMeta, catalog: Catalog) -> bool:
        """Go on from a snapshot that was read; False if a newer one is on its way."""
        if snapshot != self._loading:
            return False
        self._loading = None
        self.catalog = catalog
        self.rows_kept = catalog.store.size
        self._last_term = snapshot.term
        self.tell_position()
        if self._credentials_changed is not None:
            self._credentials_changed(catalog)
        return True
