"""This node's copy of the state machine: fed by consensus, written down, replaced, published."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from felix.actors.messages import (
    ActorRef,
    Publish,
    SnapshotBegin,
    SnapshotChunkWritten,
    SnapshotEnd,
    SnapshotLoad,
)
from felix.actors.watch_position import Position, WatchPosition
from felix.core.catalog.catalog import Applied, Catalog
from felix.core.catalog.dump import Dump
from felix.core.raft.divergence import CHECKPOINT_ENTRIES
from felix.proto.ids import Epoch, Index, Term, Version
from felix.proto.levels import read_proposal
from felix.proto.raft import Entry, EntryKind, Membership, SnapshotMeta
from felix.proto.updates import RawUpdate

DUMP_SLICE_RECORDS = 500


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
    ) -> None:
        """`last_term` is the term of the last applied entry; `me` gets the snapshots' messages.

        `checkpoint` hears what the catalog is after every so many entries.
        """
        self.catalog = catalog
        self._last_term = last_term
        self._fanout = fanout
        self._snapshots = snapshots
        self._me = me
        self._shared = shared
        self._checkpoint = checkpoint
        self._told = Version(0)
        self._knows_leader = False
        self._dump: Dump | None = None
        self._loading: SnapshotMeta | None = None
        self._held: list[tuple[Sequence[Entry], dict[Index, int]]] = []
        self.tell_position()

    def attach(self, fanout: ActorRef, snapshots: ActorRef) -> None:
        """Go on with actors that were started anew: what was with the old ones is lost."""
        self._fanout = fanout
        self._snapshots = snapshots
        self._told = Version(0)
        self.tell_position()
        if self._dump is not None:
            self._dump.close()
            self._dump = None
        if self._loading is not None:
            self._snapshots.tell(SnapshotLoad(self._loading, self._me))

    def tell_standing(self, *, knows_leader: bool) -> None:
        """Say whether this node knows what is current."""
        self._knows_leader = knows_leader
        self.tell_position()

    def apply(
        self,
        entries: Sequence[Entry],
        tokens: dict[Index, int],
        finished: Callable[[int, Applied], None],
    ) -> bool:
        """Apply entries in order, answer what was proposed here, then publish.

        While a snapshot is being loaded they are held back. Says whether there were updates.
        Raises: TooOld.
        """
        if self._loading is not None:
            self._held.append((entries, tokens))
            return False
        catalog = self.catalog
        updates: list[RawUpdate] = []
        answers: list[tuple[int, Applied]] = []
        for entry in entries:
            if entry.kind is EntryKind.COMMAND:
                applied = catalog.apply(entry.index, read_proposal(entry.index, entry.data))
                updates.extend(applied.updates)
                token = tokens.get(entry.index)
                if token is not None:
                    answers.append((token, applied))
            else:
                catalog.skip(entry.index)
            if not entry.index % CHECKPOINT_ENTRIES:
                self._checkpoint(entry.index, catalog.proof)
        for answer in answers:  # one after the other: the socket's thread sends them as one
            finished(*answer)
        self._last_term = entries[-1].term
        if updates:
            self._publish(tuple(updates))
        return bool(updates)

    def _publish(self, updates: tuple[RawUpdate, ...]) -> None:
        """Hand updates to the watch socket, unless nobody listens there."""
        catalog = self.catalog
        if self._shared.subscribers:
            self._told = Version(catalog.version)
            time_us = time.time_ns() // 1000
            self._fanout.tell(Publish(Epoch(catalog.epoch), updates, catalog.digest, time_us))
        self.tell_position()

    def tell_position(self) -> None:
        """Write down where the catalog stands, for bookmarks."""
        catalog = self.catalog
        self._shared.position = Position(
            Epoch(catalog.epoch),
            Version(catalog.version),
            catalog.digest,
            self._told,
            self._knows_leader,
        )

    # --- snapshots of the log -----------------------------------------------------------------

    def begin_dump(self, membership: Membership) -> None:
        """Start to write the catalog down as it is now; `dump_slice` goes on.

        `membership` is the one at the last applied entry.
        """
        index = self.catalog.applied_index
        self._snapshots.tell(SnapshotBegin(index, self._last_term, membership))
        self._dump = Dump(self.catalog)

    def dump_slice(self) -> bool:
        """Write the next slice; say whether there is more."""
        if self._dump is None:
            return False
        chunk = self._dump.step(DUMP_SLICE_RECORDS)
        if chunk is not None:
            self._snapshots.tell(SnapshotChunkWritten(chunk))
            return True
        self._dump = None
        self._snapshots.tell(SnapshotEnd(self._me))
        return False

    def begin_load(self, snapshot: SnapshotMeta) -> bool:
        """Have a snapshot from the leader read by the snapshots' actor; hold everything until then.

        Says whether a dump was given up for it.
        """
        self._loading = snapshot
        self._held.clear()
        self._snapshots.tell(SnapshotLoad(snapshot, self._me))
        given_up = self._dump is not None
        self._dump = None
        return given_up

    def loaded(
        self, snapshot: SnapshotMeta, catalog: Catalog, finished: Callable[[int, Applied], None]
    ) -> bool:
        """Go on from a snapshot that was read; False if a newer one is on its way."""
        if snapshot != self._loading:
            return False
        self._loading = None
        self.catalog = catalog
        self._last_term = snapshot.term
        self.tell_position()
        held, self._held = self._held, []
        for entries, tokens in held:
            self.apply(entries, tokens, finished)
        return True
