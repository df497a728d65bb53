"""Data directories as nodes leave them, made by hand; and a look into any of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import Dump, restore
from felix.proto.codec import Decoder, encode
from felix.proto.commands import Proposal, Stamp
from felix.proto.ids import Index, NodeId, Term
from felix.proto.raft import Addresses, Entry, EntryKind, HardState, Member, Membership
from felix.storage.data_dir import DataDir, read_identity
from felix.storage.ports import Identity, Owner
from tests.support.catalog_log import NOON_MS, tenant

CLUSTER = "c" * 32
CLUSTER_NAME = "felix"
IDS = {name: NodeId(name[-1] * 32) for name in ("n1", "n2", "n3", "n4", "n5")}


def member(name: str) -> Member:
    """Describe one of the founders."""
    number = 8000 + 10 * int(name[1:])
    return Member(
        IDS[name], name, Addresses(peers=f"127.0.0.1:{number}", rpc=f"127.0.0.1:{number + 1}")
    )


def membership(*names: str, outgoing: Sequence[str] = ()) -> Membership:
    """Make a membership of some founders."""
    everyone = sorted({*names, *outgoing})
    return Membership(
        voters=tuple(sorted(IDS[name] for name in names)),
        outgoing=tuple(sorted(IDS[name] for name in outgoing)),
        members=tuple(member(name) for name in everyone),
    )


def founding(voters: Membership) -> Entry:
    """Make the first entry of a cluster's log."""
    return Entry(Index(1), Term(1), EntryKind.MEMBERSHIP, encode(voters))


def a_log(voters: Membership, *terms: int) -> list[Entry]:
    """Make a log: the founding membership, then one entry of each of these terms.

    The first of a term is its leader's no-op, the others create tenants.
    """
    entries = [founding(voters)]
    for term in terms:
        index = Index(len(entries) + 1)
        if term != entries[-1].term:
            entries.append(Entry(index, Term(term), EntryKind.NOOP, b""))
        else:
            stamp = Stamp(NOON_MS, idempotency_key=f"k{index}")
            data = encode(Proposal(1, stamp, tenant(f"t{index}-{term}")))
            entries.append(Entry(index, Term(term), EntryKind.COMMAND, data))
    return entries


def applied(entries: Sequence[Entry], up_to: int | None = None) -> Catalog:
    """Apply a log from its start."""
    catalog = Catalog(CLUSTER)
    proposals = Decoder[Proposal](Proposal)
    for entry in entries[:up_to]:
        if entry.kind is EntryKind.COMMAND:
            catalog.apply(entry.index, proposals.decode(entry.data))
        else:
            catalog.skip(entry.index)
    return catalog


def make_directory(
    path: Path,
    name: str,
    entries: Sequence[Entry],
    *,
    snapshot_at: int = 0,
    trail: int = 0,
    term: int | None = None,
    cluster_id: str = CLUSTER,
) -> Path:
    """Make a node's directory; with a snapshot, `trail` entries stay in front of its end."""
    identity = Identity(cluster_id, IDS[name], name, CLUSTER_NAME)
    data = DataDir.open(path, Owner(CLUSTER_NAME, name), lambda: identity)
    state = HardState(Term(term or entries[-1].term), IDS[name])
    data.journal.append(state, entries)
    if snapshot_at:
        catalog = applied(entries, snapshot_at)
        known = [one for one in entries[:snapshot_at] if one.kind is EntryKind.MEMBERSHIP]
        writer = data.snapshots.begin(Index(snapshot_at), entries[snapshot_at - 1].term)
        dump = Dump(catalog)
        while (chunk := dump.step(50)) is not None:
            writer.write(chunk)
        meta = writer.finish(Decoder[Membership](Membership).decode(known[-1].data))
        data.journal.compact(meta, Index(max(1, snapshot_at + 1 - trail)))
    data.close()
    return path


class Seen(msgspec.Struct, frozen=True):
    """What a node that starts from a directory would have."""

    identity: Identity
    hard_state: HardState
    membership: Membership
    catalog: Catalog
    last_index: int
    last_term: int


@contextlib.contextmanager
def opened(path: Path) -> Iterator[DataDir]:
    """Open a directory as the node does whose it is."""
    identity = read_identity(path)
    assert identity is not None
    data = DataDir.open(path, Owner(identity.cluster_name, identity.name))
    try:
        yield data
    finally:
        data.close()


def look_into(path: Path) -> Seen:
    """Do what a node does when it starts."""
    with opened(path) as data:
        recovered = data.journal.recover()
        assert recovered.snapshot is not None
        catalog = restore(data.snapshots.chunks(recovered.snapshot), CatalogLimits())
        assert not recovered.entries
        assert catalog.applied_index == recovered.snapshot.index
        return Seen(
            data.identity,
            recovered.hard_state,
            recovered.snapshot.membership,
            catalog,
            recovered.snapshot.index,
            recovered.snapshot.term,
        )


def everything_in(path: Path) -> dict[str, tuple[int, bytes]]:
    """Read every file below a path, with the time it was last written."""
    return {
        str(one.relative_to(path)): (one.stat().st_mtime_ns, one.read_bytes())
        for one in sorted(path.rglob("*"))
        if one.is_file()
    }


def snapshot_files(path: Path) -> list[Path]:
    """List the snapshots of a directory."""
    return sorted((path / "snapshots").glob("*.snapshot"))
