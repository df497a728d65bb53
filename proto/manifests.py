"""What comes of a set of documents."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from felix.proto.brokers import NewPlacement, Unmet
from felix.proto.errors import ErrorReply
from felix.proto.resources import Resource

DOCUMENTS_MAX: Final = 500
"""Of a set: it is one entry of the log, and one step for everybody who watches."""
TENANTS_MAX: Final = 50
"""Of a set: the leader draws a signing key for each."""

Fate = Literal["created", "updated", "unchanged", "deleted", "absent", "refused"]


class ManifestFate(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What comes of one document."""

    fate: Fate
    """`absent`: it was to be deleted and is not there. `refused`: in a trial only."""
    operations: tuple[str, ...] = ()
    """The commands that it came to."""
    objects: int = 0
    """How many objects changed: a deletion takes along what is inside."""
    version: int = 0
    """Of the last of these changes."""
    before: Resource | None = None
    """In a trial: the object as it is."""
    after: Resource | None = None
    """In a trial: as it would be."""
    why: ErrorReply | None = None


class ManifestsApplied(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The answer to `ApplyManifests` and to `TryManifests`."""

    documents: tuple[ManifestFate, ...]
    """In the order of the command's."""
    placements: tuple[NewPlacement, ...] = ()
    """In a trial: where the shards of new streams would go."""
    unmet: tuple[Unmet, ...] = ()
    """In a trial: shards with fewer copies than wanted, or none."""
    not_planned: int = 0
    """In a trial: new streams for which it was not worked out, because there are too many."""
