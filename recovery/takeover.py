"""A new cluster from what is left of an old one: its first node's data directory."""

from __future__ import annotations

import contextlib
import time
import uuid
from pathlib import Path
from typing import Final

import msgspec

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import BadDump
from felix.core.catalog.renewal import MARGIN_DEFAULT
from felix.proto.ids import Index, NodeId, Term
from felix.proto.levels import TooOld
from felix.proto.raft import Addresses, Member
from felix.recovery.backups import verify_backup
from felix.recovery.directory import (
    fill_directory,
    is_data_dir,
    is_unused,
    locked,
    outer_of,
    replace_directory,
    write_founder,
)
from felix.recovery.errors import Refused
from felix.recovery.plan import Survey, plan_id
from felix.recovery.survey import read_directory, rebuild
from felix.storage.errors import StorageError


class Founder(msgspec.Struct, frozen=True):
    """Who is to be the first node."""

    name: str
    cluster_name: str
    addresses: Addresses


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """What the numbers of the new cluster must lie above."""

    epoch: int = 0
    """The lowest that will do."""
    above: int = 0
    """A version: it and those below are in use."""
    margin: int = MARGIN_DEFAULT
    """More than the number of updates that may be missing in what is taken over."""


ANY: Final = Floor()


class TakenOver(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    path: Path
    set_aside: Path | None
    """Where what was there before is now."""
    unread: str = ""
    """Why the numbers of what was there before are not known, or not to their end."""
    cluster_id: str
    node_id: NodeId
    epoch: int
    version: int
    digest: str
    counts: dict[str, int]


def restore_backup(
    file: Path,
    path: Path,
    founder: Founder,
    limits: CatalogLimits,
    *,
    replace: bool,
    floor: Floor = ANY,
) -> TakenOver:
    """Begin a new cluster with what a backup holds; `replace` sets aside what is in the way.

    The new one goes on above what it replaces, as far as that can be read.
    Raises: BadBackup, Refused, StorageError, TooOften, TooOld, OSError.
    """
    if not is_unused(path) and not replace:
        raise Refused(f"{path} is not empty: --replace together with --yes sets it aside")
    if (outer := outer_of(path)) is not None:
        raise Refused(f"{path} lies inside the data directory {outer}: restore somewhere else")
    backup = verify_backup(file, limits)
    with locked(path):
        term = Term(max(1, backup.header.applied_term))
        floor, unread = _above_what_is_there(path, limits, floor)
        made = _take_over(path, founder, backup.catalog, term, floor)
        return msgspec.structs.replace(made, unread=unread)


def recover_directory(
    path: Path,
    founder: Founder | None,
    limits: CatalogLimits,
    *,
    plan: str | None,
    floor: Floor = ANY,
) -> TakenOver:
    """Begin a new cluster with everything in the log of a data directory, which is set aside.

    One that lies inside another, as what a node has set aside does, stays as it is; the new one
    gets a place beside the outer one, whose node must not run.
    `plan` is the plan's id; None does without. Without a founder it is the same node, as its log
    knows it. Raises: Refused, StorageError, BadDump, TooOften, TooOld, OSError.
    """
    if not path.is_dir():
        raise Refused(f"there is no directory {path}")
    outer, place = outer_of(path), path
    with contextlib.ExitStack() as held:
        if outer is not None:
            held.enter_context(locked(outer))
            place = outer.with_name(f"{outer.name}.recovered-{uuid.uuid4().hex[:8]}")
        held.enter_context(locked(path))
        contents = read_directory(path)
        survey = contents.survey
        if plan is not None and plan != plan_id(survey):
            raise Refused(f"{path} is not what plan {plan} was made of: plan again")
        if not survey.is_usable:
            raise Refused(f"nothing can be built from {path}: {'; '.join(survey.damage)}")
        founder = founder or _same_node(survey)
        catalog = rebuild(contents, limits)
        known_term = survey.hard_state.term if survey.hard_state else Term(1)
        term = max(Term(1), survey.last_term, known_term)
        if place != path:
            held.enter_context(locked(place))
        return _take_over(place, founder, catalog, term, floor)


def _above_what_is_there(path: Path, limits: CatalogLimits, floor: Floor) -> tuple[Floor, str]:
    """Raise a floor above a directory that is replaced; say what of it cannot be read.

    Other nodes of its cluster may have gone on further: by the margin.
    """
    if not is_data_dir(path):
        return floor, ""
    try:
        contents = read_directory(path)
        there = rebuild(contents, limits)
    except (StorageError, BadDump, TooOld) as error:
        return floor, str(error)
    return (
        msgspec.structs.replace(
            floor,
            epoch=max(floor.epoch, there.epoch + 1),
            above=max(floor.above, there.version + floor.margin),
        ),
        "; ".join(contents.survey.damage),
    )


def _same_node(survey: Survey) -> Founder:
    identity, membership = survey.identity, survey.membership
    members = membership.members if membership else ()
    found = [one for one in members if identity is not None and one.id == identity.node_id]
    if not found or identity is None:
        raise Refused("the log does not say where this node is reached: give its --config")
    return Founder(found[0].name, identity.cluster_name, found[0].addresses)


def _take_over(
    path: Path, founder: Founder, catalog: Catalog, term: Term, floor: Floor
) -> TakenOver:
    """Write the new directory; a crash on the way leaves the old one or the new one.

    The identity of the cluster is new, so that nobody who was in the old one can ever take part.
    The epoch is the time in Unix seconds: what was taken over twice, and lived on both times, has
    two epochs though nobody knew of the other time.
    """
    epoch = max(catalog.epoch + 1, floor.epoch, int(time.time()))
    margin = max(floor.margin, floor.above - catalog.version)
    cluster_id = uuid.uuid4().hex
    node_id = NodeId(uuid.uuid4().hex)
    catalog.renew(cluster_id, epoch, Index(max(1, catalog.applied_index)), margin)
    member = Member(node_id, founder.name, founder.addresses)
    aside = None

    def write(there: Path) -> None:
        write_founder(there, member, founder.cluster_name, catalog, term)

    path = path.resolve()
    if is_unused(path):
        fill_directory(path, path.with_name(f"{path.name}.new-{cluster_id[:8]}"), write)
    else:
        aside = path.with_name(f"{path.name}.aside-{cluster_id[:8]}")
        replace_directory(path, aside, write)
    return TakenOver(
        path=path,
        set_aside=aside,
        cluster_id=cluster_id,
        node_id=node_id,
        epoch=epoch,
        version=catalog.version,
        digest=catalog.digest,
        counts=catalog.counts(),
    )
