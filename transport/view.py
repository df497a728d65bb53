"""The metadata as one broker knows it: at one version of one epoch of one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from felix.proto.codec import Decoder
from felix.proto.digest import Digest, Encoded
from felix.proto.errors import FelixError, Malformed
from felix.proto.resources import RESOURCE_TYPES, Key, Resource, ResourceKind, kind_of
from felix.proto.updates import MetadataUpdate, RawUpdate

Place: TypeAlias = tuple[ResourceKind, Key]

_resources: Final = Decoder[Resource](Resource)


class _Kind(msgspec.Struct):
    kind: str


_kinds: Final = Decoder[_Kind](_Kind)


class Staged(msgspec.Struct, frozen=True):
    """Updates that were checked against a view and not yet believed."""

    version: int
    """After the last of them."""
    changes: dict[Place, bytes | None]
    """What every touched object becomes; None where it is deleted."""
    updates: list[MetadataUpdate]
    digest: int
    verifiable: bool
    unknown_objects: int

    @property
    def digest_hex(self) -> str:
        """The digest that the view will have, as the wire spells it."""
        return Digest(self.digest).hex()


class MetadataView:
    """All live objects, kept as the bytes that digests cover and decoded when looked up.

    Any thread may read; the thread of the broker client alone changes it, between two updates.
    """

    def __init__(self, cluster_id: str = "", epoch: int = 0, version: int = 0) -> None:
        self.cluster_id = cluster_id
        self.epoch = epoch
        self.version = version
        self.verifiable = True
        """False after an update of an object whose kind this build does not know."""
        self.complete = True
        """False once an object was met whose kind this build does not know."""
        self._digest = Digest()
        self._objects: dict[ResourceKind, dict[Key, bytes]] = {kind: {} for kind in RESOURCE_TYPES}

    @property
    def digest(self) -> str:
        """Of all live objects, 32 hex digits."""
        return self._digest.hex()

    def get(self, kind: ResourceKind, key: Key) -> Resource | None:
        """Look one object up."""
        raw = self._objects[kind].get(key)
        return None if raw is None else _resources.decode(raw)

    def list(self, kind: ResourceKind) -> Sequence[Resource]:
        """List all objects of a kind, in no particular order."""
        return [_resources.decode(raw) for raw in tuple(self._objects[kind].values())]

    def encoded(self) -> Sequence[bytes]:
        """List all objects as they travelled, parents before children."""
        return [raw for objects in self._objects.values() for raw in objects.values()]

    def __len__(self) -> int:
        """Count the objects of known kinds."""
        return sum(map(len, self._objects.values()))

    def load(self, raw: Encoded) -> bool:
        """Take in one object of a snapshot; False if its kind is unknown. Raises: FelixError."""
        content = bytes(raw)
        resource = _decode(content)
        self._digest.add(content)
        if resource is None:
            self.complete = False
            return False
        objects = self._objects[kind_of(resource)]
        if resource.key in objects:
            raise Malformed("a snapshot has the same object twice")
        objects[resource.key] = content
        return True

    def stage(self, updates: Sequence[RawUpdate]) -> Staged:
        """Work out what consecutive updates would make of this view. Raises: FelixError."""
        digest = Digest(self._digest.value)
        verifiable, unknown = self.verifiable, 0
        changes: dict[Place, bytes | None] = {}
        decoded = []
        for update in updates:
            raw = bytes(update.payload)
            resource = _decode(raw)
            if resource is None:
                unknown += 1
                verifiable = verifiable and update.type != "UPDATE"
                (digest.remove if update.type == "DELETE" else digest.add)(raw)
                continue
            place = (kind_of(resource), resource.key)
            old = changes[place] if place in changes else self._objects[place[0]].get(place[1])
            if old is not None:
                digest.remove(old)
            if update.type == "DELETE":
                changes[place] = None
            else:
                changes[place] = raw
                digest.add(raw)
            decoded.append(MetadataUpdate(update.version, update.type, resource))
        version = updates[-1].version if updates else self.version
        return Staged(version, changes, decoded, digest.value, verifiable, unknown)

    def commit(self, staged: Staged) -> None:
        """Believe what was staged on this very version."""
        for (kind, key), raw in staged.changes.items():
            if raw is None:
                self._objects[kind].pop(key, None)
            else:
                self._objects[kind][key] = raw
        self._digest.value = staged.digest
        self.verifiable = staged.verifiable
        self.complete = self.complete and not staged.unknown_objects
        self.version = staged.version


def _decode(raw: bytes) -> Resource | None:
    """Decode an object; None if its kind is not known to this build. Raises: FelixError."""
    try:
        return _resources.decode(raw)
    except FelixError:
        if _kinds.decode(raw).kind in RESOURCE_TYPES:
            raise
        return None
