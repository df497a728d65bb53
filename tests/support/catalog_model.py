"""The catalog in the fewest words: one dictionary for each version there ever was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from felix.proto.codec import encode
from felix.proto.commands import AnyCommand, UpdateStream
from felix.proto.digest import Digest
from felix.proto.resources import RESOURCE_TYPES, Key, Resource, ResourceKind, Stream

Place: TypeAlias = tuple[str, Key]
State: TypeAlias = dict[Place, Resource]

NAMES = ("tenant_id", "namespace", "stream", "cache")
PARENTS: dict[str, tuple[ResourceKind, ...]] = {
    "Tenant": (),
    "Namespace": ("Tenant",),
    "Stream": ("Tenant", "Namespace"),
    "Cache": ("Tenant", "Namespace"),
}


class CatalogModel:
    """Does to dictionaries what the catalog should do to itself."""

    def __init__(self) -> None:
        self.states: list[State] = [{}]
        """What stood at each version."""
        self._keys: dict[str, tuple[AnyCommand, Resource | str | int]] = {}

    @property
    def state(self) -> State:
        return self.states[-1]

    def apply(
        self, command: AnyCommand, time_ms: int, key: str | None = None
    ) -> Resource | str | int:
        """Return the object, the code of the refusal, or how many objects were deleted."""
        if key is None:
            return self._apply_new(command, time_ms)
        if key not in self._keys:
            self._keys[key] = (command, self._apply_new(command, time_ms))
        before, outcome = self._keys[key]
        return outcome if before == command else "key_reused"

    def digest(self, version: int) -> str:
        digest = Digest()
        for row in self.states[version].values():
            digest.add(encode(row))
        return digest.hex()

    def _apply_new(self, command: AnyCommand, time_ms: int) -> Resource | str | int:
        verb, kind = type(command).__name__[:6], type(command).__name__[6:]
        members = msgspec.structs.asdict(command)
        key = tuple(members.pop(member) for member in NAMES if member in members)
        expected = members.pop("expected_version", None)
        before = self.state.get((kind, key))
        refusal = self._refusal(verb, kind, key, expected)
        if refusal:
            return refusal
        if before is None:
            return self._create(kind, key, members, time_ms)
        if verb == "Delete":
            return self._delete_with_children(kind, key)
        given = {member: value for member, value in members.items() if value is not None}
        return self._update(before, command, given, time_ms)

    def _refusal(self, verb: str, kind: str, key: Key, expected: int | None) -> str:
        parents = [(parent, key[: depth + 1]) for depth, parent in enumerate(PARENTS[kind])]
        before = self.state.get((kind, key))
        if not all(parent in self.state for parent in parents):
            return "not_found"
        if verb == "Create":
            exists = "already_exists" if kind in {"Tenant", "Namespace"} else "conflict"
            if before is not None:
                return exists
            is_full = kind == "Stream" and not all(map(self._has_room, parents))
            return "quota_exceeded" if is_full else ""
        if before is None:
            return "not_found"
        return "precondition_failed" if expected not in {None, before.version} else ""

    def _has_room(self, parent: Place) -> bool:
        quotas = self.state[parent].quotas  # type: ignore[union-attr]  # parents have quotas
        if quotas is None or quotas.max_streams is None:
            return True
        names = parent[1]
        inside = [
            key for kind, key in self.state if kind == "Stream" and key[: len(names)] == names
        ]
        return len(inside) < quotas.max_streams

    def _create(self, kind: str, key: Key, members: dict[str, Any], time_ms: int) -> Resource:
        version = len(self.states)
        make: Callable[..., Resource] = RESOURCE_TYPES[kind]  # type: ignore[index]  # it is one
        own_name = {"Stream": "stream", "Cache": "cache"}.get(kind, "")
        names = dict(zip(("tenant_id", "namespace", own_name), key, strict=False))
        stream_id = {"stream_id": f"st-1-{version:x}"} if kind == "Stream" else {}
        row = make(
            **names,
            **members,
            **stream_id,
            version=version,
            created_version=version,
            created_at_ms=time_ms,
            updated_at_ms=time_ms,
        )
        self._put((kind, key), row)
        return row

    def _update(
        self, before: Resource, command: AnyCommand, given: dict[str, Any], time_ms: int
    ) -> Resource:
        place = (type(before).__name__, before.key)
        if isinstance(before, Stream):
            assert isinstance(command, UpdateStream)
            spec = msgspec.structs.replace(before.spec, **given)
            if spec.durability != before.spec.durability:
                self._put(place, None)
                return self._create("Stream", before.key, {"spec": spec}, time_ms)
            given = {"spec": spec}
        after = msgspec.structs.replace(before, **given)
        if after == before:
            return before
        version = len(self.states)
        after = msgspec.structs.replace(after, version=version, updated_at_ms=time_ms)
        self._put(place, after)
        return after

    def _delete_with_children(self, kind: str, key: Key) -> int:
        doomed = [
            (child_kind, child)
            for child_kind in ("Cache", "Stream", "Namespace", "Tenant")
            for child in sorted(child for one, child in self.state if one == child_kind)
            if child[: len(key)] == key and (child_kind == kind or len(child) > len(key))
        ]
        for place in doomed:
            self._put(place, None)
        return len(doomed)

    def _put(self, place: Place, row: Resource | None) -> None:
        state = dict(self.state)
        if row is None:
            del state[place]
        else:
            state[place] = row
        self.states.append(state)
