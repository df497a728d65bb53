"""What replicas apply and keep is written down for each feature level: no change slips in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from felix.core.catalog.audit import AuditSegment
from felix.core.catalog.catalog import ROWS
from felix.core.catalog.dump import Header
from felix.core.catalog.feed import Tombstone
from felix.core.catalog.idempotency import Remembered
from felix.proto.cluster import AddMember, UpdateMember
from felix.proto.commands import Proposal
from felix.proto.errors import FeatureLevelTooLow
from felix.proto.levels import FEATURE_LEVEL, TooOld, check_joining, entry_kind
from felix.proto.raft import Addresses, EntryKind

FILE = Path(__file__).parent.parent / "vectors" / f"level_{FEATURE_LEVEL}.txt"
ADVICE = (
    "A build that differs here from another of its level makes replicas differ. Raise "
    "FEATURE_LEVEL, say in proto/levels.py what needs it, and write the new level down with "
    "--update-vectors."
)


def records(kind: Any, found: dict[str, type]) -> dict[str, type]:
    """Gather every record that one holds, by name."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind.__name__ not in found:
            found[kind.__name__] = kind
            for field in msgspec.structs.fields(kind):
                records(field.type, found)
    else:
        for part in get_args(kind):
            records(part, found)
    return found


def lines() -> Iterator[str]:
    """Describe each of their members: name, type, default."""
    found: dict[str, type] = {}
    for root in (
        Proposal, Header, Remembered, Tombstone, AuditSegment, *ROWS.values()
    ):  # fmt: skip
        records(root, found)
    for name, kind in sorted(found.items()):
        yield name
        for field in msgspec.structs.fields(kind):
            plain = type(field.type) is type or type(field.type) is msgspec.StructMeta
            type_ = field.type.__name__ if plain else str(field.type)
            default = "" if field.required else f" = {field.default!r}"
            if field.default_factory is not msgspec.NODEFAULT:
                default = f" = {field.default_factory()!r}"
            yield f"    {field.encode_name}: {type_}{default}"


def test_a_level_means_the_same_in_every_build(request: pytest.FixtureRequest) -> None:
    text = "\n".join(lines()) + "\n"
    if request.config.getoption("--update-vectors", default=False):
        FILE.write_text(text)
    assert FILE.read_text() == text, ADVICE


def test_a_member_whose_build_is_below_the_level_in_force_is_not_taken_in() -> None:
    addresses = Addresses("h:1", "h:2")
    joining = AddMember(member_id="a" * 32, name="n4", addresses=addresses, level=1)
    check_joining(joining, 1)
    with pytest.raises(FeatureLevelTooLow, match="has feature level 2, the build of n4 has 1"):
        check_joining(joining, 2)
    with pytest.raises(FeatureLevelTooLow):
        check_joining(UpdateMember(member_id="a" * 32, addresses=addresses, level=1), 2)


def test_an_entry_of_an_unknown_kind_stops_the_node() -> None:
    assert entry_kind(9, 1) is EntryKind.COMMAND
    with pytest.raises(TooOld, match="entry 9 was written by a newer build"):
        entry_kind(9, 77)
