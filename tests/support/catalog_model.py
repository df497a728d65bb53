"""The catalog in the fewest words: one dictionary for each version there ever was."""

from __future__ import annotations

from typing import TypeAlias

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
        name = type(command).__name__
        kind = name[6:]
        members = msgspec.structs.asdict(command)
        key = tuple(members.pop(member) for member in NAMES if member in members)
        expected = members.pop("expected_version", None)
        for depth, parent in enumerate(PARENTS[kind]):
            if (parent, key[: depth + 1]) not in self.state:
                return "not_found"
        before = self.state.get((kind, key))
        if name.startswith("Create"):
            if before is not None:
                return "already_exists" if kind in {"Tenant", "Namespace"} else "conflict"
            return self._create(kind, key, members, time_ms)
        if before is None:
            return "not_found"
        if expected is not None and expected != before.version:
            return "precondition_failed"
        if name.startswith("Delete"):
            return self._delete_with_children(kind, key)
        given = {member: value for member, value in members.items() if value is not None}
        return self._update(before, command, given, time_ms)

    def _create(self, kind: str, key: Key, members: dict[str, object], time_ms: int) -> Resource:
        version = len(self.states)
        type_ = RESOURCE_TYPES[kind]  # type: ignore[index]  # one of the four
        names = dict(zip((n for n in NAMES if n in type_.__struct_fields__), key, strict=True))
        stream_id = {"stream_id": f"st-1-{version:x}"} if kind == "Stream" else {}
        row = type_(
            **names,
            **members,
            **stream_id,
            version=version,
            created_version=version,
            created_at_ms=time_ms,
            updated_at_ms=time_ms,
        )  # type: ignore[arg-type]  # members of that very type
        self._put((kind, key), row)
        return row

    def _update(
        self, before: Resource, command: AnyCommand, given: dict[str, object], time_ms: int
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
