"""What a data directory holds: read without a node, and without changing anything."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import BadDump, restore
from felix.proto import codec
from felix.proto.errors import FelixError
from felix.proto.ids import Index, Term
from felix.proto.levels import check_level, level_of, read_proposal
from felix.proto.raft import Entry, EntryKind, Membership
from felix.recovery.directory import DEPTH_MAX, is_data_dir, outer_of
from felix.recovery.errors import Refused
from felix.recovery.plan import Survey
from felix.storage.data_dir import JOURNAL, LOCK, SNAPSHOTS, read_identity
from felix.storage.errors import Damaged, Locked
from felix.storage.salvage import Salvaged, salvage
from felix.storage.snapshots import SnapshotFiles


class Contents(msgspec.Struct, frozen=True):
    """A survey, and what can be built from."""

    survey: Survey
    salvaged: Salvaged


def find_directories(named: Sequence[Path]) -> list[tuple[Path, bool]]:
    """List the data directories among and below these, and whether they are inside another one.

    What a node had to set aside lies inside its data directory. Raises: Refused.
    """
    found: dict[Path, bool] = {}
    for path in named:
        inside = outer_of(path) is not None
        below = list(_search(path.resolve(), DEPTH_MAX, inside=inside))
        if not below:
            raise Refused(f"there is no data directory in {path}")
        found.update({one: is_inner for one, is_inner in below if one not in found})
    return list(found.items())


def _search(path: Path, depth: int, *, inside: bool) -> list[tuple[Path, bool]]:
    is_one = is_data_dir(path)
    found = [(path, inside)] if is_one else []
    if depth and path.is_dir():
        for child in sorted(path.iterdir()):
            if child.is_dir() and not child.is_symlink():
                found += _search(child, depth - 1, inside=inside or is_one)
    return found


def read_directory(path: Path, *, is_set_aside: bool = False) -> Contents:
    """Read a data directory. Raises: OSError, TooOld."""
    damage: list[str] = []
    try:
        identity = read_identity(path)
    except Damaged as error:
        identity = None
        damage.append(str(error))
    else:
        if identity is None:
            damage.append("it does not say whose it is")
    salvaged = salvage(path / JOURNAL)
    damage += salvaged.damage
    entries, snapshot = salvaged.entries, salvaged.snapshot
    snapshot_is_whole = _check_snapshot(path, salvaged, damage)
    membership, membership_index = _newest_membership(salvaged)
    survey = Survey(
        path=str(path),
        identity=identity,
        is_set_aside=is_set_aside,
        hard_state=salvaged.hard_state,
        first_index=entries[0].index if entries else Index(0),
        last_index=_last_index(salvaged),
        last_term=_last_term(salvaged),
        runs=_runs_of(entries),
        snapshot_index=snapshot.index if snapshot else Index(0),
        snapshot_term=snapshot.term if snapshot else Term(0),
        membership=membership,
        membership_index=membership_index,
        damage=tuple(damage),
        is_usable=_last_index(salvaged) > 0
        and (snapshot_is_whole or bool(entries and entries[0].index == 1)),
    )
    return Contents(survey, salvaged)


def refuse_running(path: Path) -> None:
    """Make sure that no node runs here, without touching anything. Raises: Locked."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        raise Locked(f"a node runs in {path}: stop it first") from error
    finally:
        os.close(descriptor)


def rebuild(contents: Contents, limits: CatalogLimits) -> Catalog:
    """Apply everything that a directory holds, to the last entry.

    Raises: BadDump, Damaged, TooOld.
    """
    salvaged, survey = contents.salvaged, contents.survey
    entries = salvaged.entries
    if salvaged.snapshot is not None and not (entries and entries[0].index == 1):
        files = SnapshotFiles(Path(survey.path) / SNAPSHOTS)
        catalog = restore(files.chunks(salvaged.snapshot), limits)
    else:
        catalog = Catalog(survey.identity.cluster_id if survey.identity else "", limits=limits)
    for entry in entries:
        if entry.index <= catalog.applied_index:
            continue
        if entry.kind is not EntryKind.COMMAND:
            catalog.skip(entry.index)
            continue
        try:
            proposal = read_proposal(entry.index, entry.data)
            check_level(f"entry {entry.index}", level_of(proposal.command))
            catalog.apply(entry.index, proposal)
        except FelixError as error:
            raise Damaged(f"entry {entry.index} cannot be applied: {error}") from error
    return catalog


def _check_snapshot(path: Path, salvaged: Salvaged, damage: list[str]) -> bool:
    """Say whether the log needs no snapshot, or has a whole one."""
    if salvaged.snapshot is None:
        return bool(salvaged.entries)
    folder = path / SNAPSHOTS
    if not folder.is_dir():
        damage.append(f"{folder} is missing")
        return False
    try:
        next(SnapshotFiles(folder).chunks(salvaged.snapshot))  # the whole file is checked first
    except (Damaged, BadDump) as error:
        damage.append(str(error))
        return False
    return True


def _last_index(salvaged: Salvaged) -> Index:
    if salvaged.entries:
        return salvaged.entries[-1].index
    return salvaged.snapshot.index if salvaged.snapshot else Index(0)


def _last_term(salvaged: Salvaged) -> Term:
    if salvaged.entries:
        return salvaged.entries[-1].term
    return salvaged.snapshot.term if salvaged.snapshot else Term(0)


def _newest_membership(salvaged: Salvaged) -> tuple[Membership | None, Index]:
    snapshot = salvaged.snapshot
    reached = snapshot.index if snapshot else Index(0)
    for entry in reversed(salvaged.entries):
        if entry.index <= reached:
            break
        if entry.kind is EntryKind.MEMBERSHIP:
            return codec.Decoder[Membership](Membership).decode(entry.data), entry.index
    if snapshot is not None and snapshot.membership.voters:
        return snapshot.membership, snapshot.index
    return None, Index(0)


def _runs_of(entries: Sequence[Entry]) -> tuple[tuple[Index, Term], ...]:
    runs: list[tuple[Index, Term]] = []
    for entry in entries:
        if not runs or runs[-1][1] != entry.term:
            runs.append((entry.index, entry.term))
    return tuple(runs)
