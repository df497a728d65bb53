"""Which state a node starts with when a snapshot on its disk cannot be believed."""

from __future__ import annotations

import msgspec
import pytest
from structlog.testing import capture_logs

from felix.actors.restoring import restored
from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import Dump
from felix.proto import codec
from felix.proto.commands import CreateTenant, Proposal, Stamp
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Entry, EntryKind, HardState, Membership, SnapshotMeta
from felix.storage.errors import Damaged
from felix.storage.memory import MemorySnapshots
from felix.storage.ports import Recovered

CLUSTER = "c" * 32
MEMBERSHIP = Membership((NodeId("a"),))
LIMITS = CatalogLimits()
LAST = 30


class Node:
    """A log of creations, and snapshots of what they lead to."""

    def __init__(self, cluster_id: str = CLUSTER) -> None:
        self.cluster_id = cluster_id
        self.snapshots = MemorySnapshots()
        self.entries = [self._entry(index) for index in range(1, LAST + 1)]
        self.metas = {index: self._snapshot(index) for index in (10, 20)}

    def _entry(self, index: int) -> Entry:
        command = CreateTenant(tenant_id=f"t{index}")
        data = codec.encode(Proposal(1, Stamp(1, "r", "", "", ""), command))
        return Entry(Index(index), Term(1), EntryKind.COMMAND, data)

    def catalog_at(self, index: int, start: Catalog | None = None) -> Catalog:
        catalog = start or Catalog(self.cluster_id, limits=LIMITS)
        proposals = codec.Decoder[Proposal](Proposal)
        for entry in self.entries[catalog.applied_index : index]:
            catalog.apply(entry.index, proposals.decode(entry.data))
        return catalog

    def _snapshot(self, index: int) -> SnapshotMeta:
        writer = self.snapshots.begin(Index(index), Term(1))
        dump = Dump(self.catalog_at(index))
        while (chunk := dump.step(7)) is not None:
            writer.write(chunk)
        return writer.finish(MEMBERSHIP)

    def damage(self, index: int) -> None:
        meta = self.metas[index]
        data = bytearray(self.snapshots._files[meta])
        data[len(data) // 2] ^= 1
        self.snapshots._files[meta] = bytes(data)

    def recovered(self, first: int) -> Recovered:
        """What the journal says: the snapshot at 20, and the log from `first`."""
        return Recovered(HardState(Term(1)), self.metas[20], tuple(self.entries[first - 1 :]))

    def start(self, first: int) -> tuple[Recovered, Catalog]:
        return restored(self.recovered(first), self.snapshots, CLUSTER, LIMITS)


def test_a_whole_snapshot_is_what_a_node_starts_with() -> None:
    node = Node()
    recovered, catalog = node.start(first=21)
    assert recovered == node.recovered(first=21)
    assert (catalog.applied_index, catalog.digest) == (20, node.catalog_at(20).digest)


@pytest.mark.parametrize("first", [5, 10, 11])
def test_an_older_snapshot_stands_in_where_the_log_reaches_back_to_it(first: int) -> None:
    node = Node()
    node.damage(20)
    with capture_logs() as logs:
        recovered, catalog = node.start(first)
    assert [one["log_level"] for one in logs] == ["warning"]
    assert recovered == msgspec.structs.replace(node.recovered(first), snapshot=node.metas[10])
    assert node.catalog_at(LAST, catalog).digest == node.catalog_at(LAST).digest


def test_the_log_alone_stands_in_where_it_begins_at_the_beginning() -> None:
    node = Node()
    node.damage(20)
    node.damage(10)
    recovered, catalog = node.start(first=1)
    assert recovered == msgspec.structs.replace(node.recovered(first=1), snapshot=None)
    assert node.catalog_at(LAST, catalog).digest == node.catalog_at(LAST).digest


@pytest.mark.parametrize("first", [12, 21, LAST + 1])
def test_a_damaged_snapshot_is_never_taken_for_empty(first: int) -> None:
    node = Node()
    node.damage(20)
    with pytest.raises(Damaged):
        node.start(first)


def test_a_missing_snapshot_is_never_taken_for_empty() -> None:
    node = Node()
    node.snapshots.prune([])
    node.snapshots._files.clear()
    with pytest.raises(Damaged, match="missing"):
        node.start(first=21)


def test_an_older_snapshot_of_another_history_does_not_stand_in() -> None:
    node = Node()
    node.damage(20)
    recovered = node.recovered(first=10)
    other = msgspec.structs.replace(recovered.entries[0], term=Term(2))
    recovered = msgspec.structs.replace(recovered, entries=(other, *recovered.entries[1:]))
    with pytest.raises(Damaged):
        restored(recovered, node.snapshots, CLUSTER, LIMITS)


def test_a_snapshot_of_another_cluster_is_refused() -> None:
    with pytest.raises(Damaged, match="belongs to cluster"):
        Node(cluster_id="d" * 32).start(first=21)


def test_a_file_that_is_no_dump_is_refused() -> None:
    node = Node()
    writer = node.snapshots.begin(Index(20), Term(1))
    writer.write(b"not a header")
    node.metas[20] = writer.finish(MEMBERSHIP)
    with pytest.raises(Damaged, match="damaged"):
        node.start(first=21)
