"""Feature levels: what a build can do, what a command needs, and what a node is too old for.

A build of level L applies everything that needs L or less, byte for byte as every other build of
that level or a higher one does. The level in force is a number that the catalog replicates: nothing
above it is proposed. So members of two builds can work together, and the older one can come back,
until an operator raises the level (`docs/upgrade.md`).

Whatever a new build can do more, a new command, a new member of one that exists, another effect of
what was there, needs a higher level: raise `FEATURE_LEVEL` and say below what needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from felix.proto import codec
from felix.proto.cluster import AddMember, UpdateMember
from felix.proto.command import Command
from felix.proto.commands import (
    Proposal,
    SetFeatureLevel,
)
from felix.proto.errors import FeatureLevelTooLow, FelixError
from felix.proto.ids import Index
from felix.proto.raft import Entry, EntryKind, Membership

FEATURE_LEVEL: Final = 1
"""What this build can do."""
EXIT_TOO_OLD: Final = 73
"""With which a node ends that met what needs a newer build."""

_NEEDS: Final[dict[type[Command], Callable[[Any], int]]] = {
    SetFeatureLevel: lambda command: command.level,
}
"""What a command needs, which may depend on what it says; one that is not here needs level 1."""


class TooOld(Exception):
    """This build cannot go on: what it met was written by a newer one. Nothing is passed over."""


class ProposalEnvelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The start of a `Proposal`, to read the level of one whose rest is not known."""

    level: int


_proposals: Final = codec.Decoder[Proposal](Proposal)
_envelopes: Final = codec.Decoder[ProposalEnvelope](ProposalEnvelope)


def level_of(command: Command) -> int:
    """Say which feature level a build must have to apply a command."""
    needs = _NEEDS.get(type(command))
    return 1 if needs is None else needs(command)


def check(command: Command, active: int, membership: Membership) -> None:
    """Check that everyone can apply a command, `active` being the level in force.

    Raises: FeatureLevelTooLow with `needed` and `active`; for a raise also `members`, the names of
    those whose build is too old.
    """
    needed = level_of(command)
    if needed <= active:
        return
    details: dict[str, int | str] = {"needed": needed, "active": active}
    if not isinstance(command, SetFeatureLevel):
        raise FeatureLevelTooLow(
            f"{type(command).__name__} needs feature level {needed}, the cluster has {active}: "
            "raise it once every member runs the new build",
            details=details,
        )
    behind = too_old_for(needed, membership)
    if not behind and needed <= FEATURE_LEVEL:
        return
    names = ", ".join(behind) or "the leader"
    raise FeatureLevelTooLow(
        f"feature level {needed} needs a newer build on: {names}",
        details=details | {"members": names},
    )


def check_joining(operation: AddMember | UpdateMember, active: int) -> None:
    """Check that a member's build can apply what the cluster may use already.

    Raises: FeatureLevelTooLow.
    """
    if operation.level < active:
        name = operation.name if isinstance(operation, AddMember) else operation.member_id
        raise FeatureLevelTooLow(
            f"the cluster has feature level {active}, the build of {name} has {operation.level}",
            details={"needed": active, "active": active, "members": name},
        )


def too_old_for(level: int, membership: Membership) -> tuple[str, ...]:
    """Name the members, voting or not, whose build is below a level.

    One of whom nothing is known counts as level 1, and is named by its identity.
    """
    known = {member.id: member for member in membership.members}
    everyone = {*membership.voters, *membership.outgoing, *membership.learners}
    behind = []
    for node_id in sorted(everyone):
        member = known.get(node_id)
        if (member.level if member else 1) < level:
            behind.append(member.name if member else node_id)
    return tuple(behind)


def read_proposal(index: Index, data: bytes) -> Proposal:
    """Read the command of a log entry.

    Only what this build would have written just so is taken: a member of a newer build would else
    be ignored here and not there, and the replicas would differ without anybody noticing.

    Raises: TooOld; FelixError for what no build wrote.
    """
    try:
        proposal = _proposals.decode(data)
    except FelixError as error:
        check_level(f"entry {index}", _envelopes.decode(data).level)
        raise unknown(f"entry {index}", str(error)) from error
    check_level(f"entry {index}", proposal.level)
    if codec.encode(proposal) != data:
        raise unknown(f"entry {index}", f"a member of {type(proposal.command).__name__}")
    return proposal


def check_level(what: str, level: int) -> None:
    """Check that this build can take `what`, which needs `level`. Raises: TooOld."""
    if level > FEATURE_LEVEL:
        raise TooOld(f"{what} needs feature level {level}, this build has {FEATURE_LEVEL}")


def check_entries(entries: Iterable[Entry]) -> None:
    """Check that this build can apply what a log holds, before it takes part. Raises: TooOld."""
    for entry in entries:
        if entry.kind is EntryKind.COMMAND:
            check_level(f"entry {entry.index}", _envelopes.decode(entry.data).level)


def entry_kind(index: int, kind: int) -> EntryKind:
    """Tell what the data of a stored entry is. Raises: TooOld."""
    try:
        return EntryKind(kind)
    except ValueError as error:
        raise unknown(f"entry {index}", f"entries of kind {kind}") from error


def unknown(what: str, why: str) -> TooOld:
    """Say that something whole holds what no build of this level would have written."""
    return TooOld(
        f"{what} was written by a newer build than this one, of feature level {FEATURE_LEVEL}, "
        f"which does not know: {why}"
    )
