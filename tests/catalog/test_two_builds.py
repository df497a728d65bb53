"""Two builds of the state machine over one log: equal to the byte, until the level is raised."""

from __future__ import annotations

import random
from typing import Any, Final

import msgspec
import pytest

from felix.core.catalog.dump import BadDump, restore
from felix.proto import levels
from felix.proto.codec import encode
from felix.proto.commands import CreateCache, DeleteCache, SetFeatureLevel
from felix.proto.errors import FeatureLevelTooLow
from felix.proto.ids import Index, NodeId
from felix.proto.levels import TooOld
from felix.proto.raft import Addresses, Member, Membership
from tests.support.catalog_log import NOON_MS, CatalogLog, cache, dumped, namespace, tenant
from tests.support.next_build import Build, load

ENTRIES: Final = 4000
RESTARTS: Final = 0.01
Parts = dict[str, object]
SPACE: Final[Any] = {"tenant_id": "acme", "namespace": "prod"}
NAMES: Final[Any] = {**SPACE, "cache": "rates"}
LABEL: Final[Parts] = {"type": "LabelCache", **NAMES, "label": "cold"}
CREATE_LABELLED: Final[Parts] = {"type": "CreateCache", **NAMES, "label": "hot"}


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return load(tmp_path_factory.mktemp("next"))


@pytest.fixture(scope="module")
def older() -> Build:
    return Build()


def membership(*levels_of_members: int) -> Membership:
    """Three members, n1 to n3, of builds of these levels."""
    members = tuple(
        Member(NodeId(str(number) * 32), f"n{number}", Addresses("h:1", "h:2"), level)
        for number, level in enumerate(levels_of_members, start=1)
    )
    return Membership(tuple(one.id for one in members), members=members)


def any_command(chance: random.Random, *, new: bool) -> Parts:
    """Make up a command as it travels; a `new` one only the newer build knows."""
    names: Parts = {
        "tenant_id": chance.choice(("acme", "zeta")),
        "namespace": chance.choice(("prod", "test")),
        "stream": chance.choice("abcdef"),
        "cache": chance.choice("abcdef"),
    }
    kind = chance.choices(("Stream", "Cache", "Namespace", "Tenant"), (8, 8, 2, 1))[0]
    verb = chance.choices(("Create", "Update", "Delete"), (6, 6, 1))[0]
    if new:
        verb, kind = chance.choice((("Label", "Cache"), ("Create", "Cache")))
    depth = {"Tenant": ("tenant_id",), "Namespace": ("tenant_id", "namespace")}.get(
        kind, ("tenant_id", "namespace", kind.lower())
    )
    parts: Parts = {"type": verb + kind} | {name: names[name] for name in depth}
    if new:
        return parts | {"label": chance.choice(("hot", "cold"))}
    if kind == "Stream" and verb == "Create":
        parts["spec"] = {"shards": chance.randrange(1, 4), "durability": "durable"}
    elif kind == "Stream" and verb == "Update":
        parts["retention"] = {"max_age_seconds": chance.randrange(3)}
    elif verb != "Delete":
        parts["display_name"] = chance.choice(("", "x", "y"))
    if verb != "Create" and chance.random() < 0.1:
        parts["expected_version"] = chance.randrange(1, 50)
    return parts


class Pair:
    """One node of each build, applying the same log. Either may lead."""

    def __init__(self, older: Build, newer: Build, chance: random.Random) -> None:
        self.builds = (older, newer)
        self.catalogs: list[Any] = [build.make_catalog("c1") for build in self.builds]
        self.chance = chance
        self.log: list[bytes] = []
        self.refused = self.exchanged = 0

    def propose(self, parts: Parts, key: str | None, levels_of_members: tuple[int, ...]) -> None:
        """Have one of the two asked and one lead, and both apply what these let into the log."""
        travels = msgspec.msgpack.encode(parts)
        for number in (self.chance.randrange(2), self.chance.randrange(2)):
            build, catalog = self.builds[number], self.catalogs[number]
            try:
                command = build.command(travels)
                build.levels.check(command, catalog.feature_level, membership(*levels_of_members))
            except (msgspec.ValidationError, build.too_low):
                self.refused += 1
                return
            travels = build.encode(command)
        entry = build.entry(command, NOON_MS + len(self.log) * 60_000, key)
        results = [
            build.encode(build.apply(one, entry))
            for build, one in zip(self.builds, self.catalogs, strict=True)
        ]
        assert results[0] == results[1]
        self.log.append(entry)

    def compare(self) -> list[list[bytes]]:
        """Hold the two against each other; give their dumps."""
        one, other = self.catalogs
        assert (one.version, one.digest) == (other.version, other.digest)
        assert one.proof == other.proof
        dumps = [
            build.dumped(catalog) for build, catalog in zip(self.builds, self.catalogs, strict=True)
        ]
        assert dumps[0] == dumps[1]
        return dumps

    def exchange_snapshots(self, dumps: list[list[bytes]]) -> None:
        """Let each go on from what the other has written down."""
        self.catalogs = [
            build.dump.restore(dump, build.limits())
            for build, dump in zip(self.builds, reversed(dumps), strict=True)
        ]
        self.exchanged += 1


def test_two_builds_stay_equal_to_the_byte_until_the_level_is_raised(
    older: Build, newer: Build
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    pair = Pair(older, newer, chance)
    upgrade = chance.randrange(ENTRIES // 3, ENTRIES // 2)
    for number in range(ENTRIES):
        level = 2 if number > upgrade else 1
        parts = any_command(chance, new=chance.random() < 0.05)
        key = f"key-{chance.randrange(300)}" if chance.random() < 0.3 else None
        if chance.random() < 0.02:
            parts = {"type": "SetFeatureLevel", "level": chance.randrange(1, 3)}
        pair.propose(parts, key, (level, 1, level))
        dumps = pair.compare()
        if chance.random() < RESTARTS:
            pair.exchange_snapshots(dumps)
    assert pair.catalogs[0].feature_level == 1
    assert not any(b"label" in entry.lower() for entry in pair.log)
    assert pair.catalogs[0].version > ENTRIES // 10
    assert pair.refused > ENTRIES // 50
    assert pair.exchanged > ENTRIES * RESTARTS // 4


def test_after_the_level_was_raised_the_older_build_stops_and_says_why(
    older: Build, newer: Build
) -> None:
    pair = Pair(older, newer, random.Random(1))
    pair.propose({"type": "CreateTenant", "tenant_id": "acme"}, None, (2, 1, 2))
    pair.propose({"type": "CreateNamespace", **SPACE}, None, (2, 1, 2))
    one, other = pair.catalogs
    entry = newer.entry(
        newer.command(encode({"type": "SetFeatureLevel", "level": 2})), NOON_MS, "raise"
    )
    assert newer.apply(other, entry).result.level == other.feature_level == 2
    with pytest.raises(TooOld, match=r"^entry 3 needs feature level 2, this build has 1$"):
        older.apply(one, entry)
    assert (one.applied_index, one.feature_level) == (2, 1)
    labelled = newer.entry(newer.command(encode(CREATE_LABELLED)), NOON_MS)
    assert newer.apply(other, labelled).result.label == "hot"
    relabelled = newer.entry(newer.command(encode(LABEL)), NOON_MS)
    assert newer.apply(other, relabelled).result.label == "cold"
    assert newer.apply(other, entry).result.level == 2  # the same key: the same answer
    dump = newer.dumped(other)
    assert newer.dumped(newer.dump.restore(dump, newer.limits())) == dump
    with pytest.raises(TooOld, match=r"snapshot needs feature level 2 .* this build has 1"):
        restore(dump, older.limits())
    with pytest.raises(BadDump):
        restore(dump[:-1], older.limits())


@pytest.mark.parametrize("parts", [LABEL, CREATE_LABELLED])
def test_what_the_older_build_does_not_know_is_never_passed_over(
    older: Build, newer: Build, parts: Parts
) -> None:
    catalog = older.make_catalog("c1")
    command = newer.command(encode(parts))
    assert newer.levels.level_of(command) == 2
    with pytest.raises(TooOld, match=r"^entry 1 needs feature level 2, this build has 1$"):
        older.apply(catalog, newer.entry(command, NOON_MS))
    # and when the newer build forgot to say that it needs more
    stamp = newer.commands.Stamp(NOON_MS)
    with pytest.raises(TooOld, match="entry 1 was written by a newer build"):
        older.apply(catalog, newer.encode(newer.commands.Proposal(1, stamp, command)))
    assert catalog.applied_index == 0


def test_the_level_is_raised_once_no_member_is_too_old() -> None:
    raise_it = SetFeatureLevel(level=2)
    with pytest.raises(FeatureLevelTooLow, match="n2, n3") as refused:
        levels.check(raise_it, 1, membership(2, 1, 1))
    assert refused.value.details == {"needed": 2, "active": 1, "members": "n2, n3"}
    with pytest.raises(FeatureLevelTooLow, match="the leader"):
        levels.check(raise_it, 1, membership(2, 2, 2))
    levels.check(SetFeatureLevel(level=1), 1, membership(1, 1, 1))


def test_the_newer_build_raises_the_level_only_with_every_member(newer: Build) -> None:
    raise_it = newer.command(encode({"type": "SetFeatureLevel", "level": 2}))
    for group in (membership(2, 2, 1), membership(1, 2, 2), Membership((NodeId("a" * 32),))):
        with pytest.raises(newer.too_low):
            newer.levels.check(raise_it, 1, group)
    newer.levels.check(raise_it, 1, membership(2, 2, 2))
    learner = membership(2, 2, 1)
    learner = msgspec.structs.replace(
        learner, voters=learner.voters[:2], learners=learner.voters[2:]
    )
    with pytest.raises(newer.too_low, match="n3"):
        newer.levels.check(raise_it, 1, learner)


def test_the_level_never_goes_down(newer: Build) -> None:
    catalog = newer.make_catalog("c1")
    for level in (2, 2):
        command = newer.command(encode({"type": "SetFeatureLevel", "level": level}))
        assert newer.apply(catalog, newer.entry(command, NOON_MS)).result.level == 2
    lower = newer.entry(newer.command(encode({"type": "SetFeatureLevel", "level": 1})), NOON_MS)
    assert newer.apply(catalog, lower).result.code == "feature_level_too_low"
    assert catalog.feature_level == 2
    assert catalog.version == 0, "brokers see no update that has nothing for them"


def test_a_dump_of_level_1_says_nothing_of_levels() -> None:
    log = CatalogLog()
    log.make(tenant(), namespace(), cache("rates"))
    log.do(SetFeatureLevel(level=1), key="k")
    chunks = dumped(log.catalog)
    assert "feature_level" not in msgspec.msgpack.decode(chunks[0])
    again = restore(chunks, log.catalog.limits)
    assert again.feature_level == 1
    assert (
        CatalogLog(again).do(SetFeatureLevel(level=1), key="k").result
        == log.do(SetFeatureLevel(level=1), key="k").result
    )


def test_nothing_unknown_in_a_proposal_is_passed_over() -> None:
    log = CatalogLog()
    log.do(CreateCache(tenant_id="acme", namespace="prod", cache="rates"))
    (entry,) = log.entries
    parts = msgspec.msgpack.decode(entry)
    with pytest.raises(TooOld, match="written by a newer build"):
        levels.read_proposal(Index(1), encode([*parts, "more"]))
    parts[2]["colour"] = "red"
    with pytest.raises(TooOld, match="a member of CreateCache"):
        levels.read_proposal(Index(1), encode(parts))


@pytest.mark.parametrize("then", ["is there", "is gone"])
def test_a_snapshot_with_something_unknown_is_neither_read_in_part_nor_called_damaged(
    older: Build, newer: Build, then: str
) -> None:
    """Its writer forgot to say that it needs more: in a public row, or in one that stays hidden."""
    catalog = newer.make_catalog("c1")
    newer.apply(catalog, newer.entry(newer.command(encode(tenant())), NOON_MS))
    newer.apply(catalog, newer.entry(newer.command(encode(namespace())), NOON_MS))
    newer.apply(catalog, newer.entry(newer.command(encode(CREATE_LABELLED)), NOON_MS))
    if then == "is gone":
        newer.apply(catalog, newer.entry(newer.command(encode(DeleteCache(**NAMES))), NOON_MS))
    dump = newer.dumped(catalog)
    with pytest.raises(TooOld, match="the snapshot was written by a newer build"):
        restore(dump, older.limits())
    with pytest.raises(BadDump):
        restore(dump[:-1], older.limits())
