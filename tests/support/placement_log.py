"""A log with brokers and placed streams, and the rules that hold after every command."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from felix.core.catalog.catalog import Applied
from felix.core.catalog.placement_index import PlacementIndex
from felix.core.catalog.placement_tables import DELETED_STREAMS, MOVES, move_key
from felix.core.catalog.steps import Step
from felix.proto.brokers import (
    BrokerCapacity,
    BrokerStatus,
    InSyncChange,
    NewPlacement,
    Placement,
    ShardMove,
    StreamName,
)
from felix.proto.commands import CreateStream
from felix.proto.errors import ErrorReply
from felix.proto.placement_commands import (
    ChangeBrokerStatus,
    ChangeInSync,
    PlaceShards,
    RegisterBroker,
)
from felix.proto.resources import Broker, Durability, ShardPlacement, Stream, StreamSpec
from tests.support.catalog_log import CatalogLog, namespace, tenant

HERE: Final[Any] = {"tenant_id": "acme", "namespace": "prod"}


def stream_name(name: str) -> StreamName:
    return StreamName("acme", "prod", name)


def registration(broker_id: str, boot: str = "boot-1", **members: Any) -> RegisterBroker:
    members.setdefault("address", f"{broker_id}.example.test:5000")
    return RegisterBroker(broker_id=broker_id, boot_id=boot, **members)


def copies(leader: str, *replicas: str, shard_id: int = 0) -> Placement:
    return Placement(shard_id=shard_id, leader=leader, replicas=replicas)


class PlacementLog(CatalogLog):
    """One tenant with one namespace, brokers, and streams whose copies the test says."""

    def __init__(self, *broker_ids: str) -> None:
        super().__init__()
        self.make(tenant(), namespace())
        for broker_id in broker_ids:
            self.make(registration(broker_id))

    @property
    def index(self) -> PlacementIndex:
        return self.catalog.placement

    def broker(self, broker_id: str) -> Broker:
        found: Broker = self.catalog.store.tables["Broker"].rows[(broker_id,)]
        return found

    def stream(
        self,
        name: str,
        *shards: Placement,
        durability: Durability = "durable",
        replication_factor: int = 3,
        regions: tuple[str, ...] = (),
    ) -> Stream:
        """Create a stream and, where its copies are given, place it."""
        spec = StreamSpec(
            shards=max(1, len(shards)),
            durability=durability,
            replication_factor=replication_factor,
            regions=regions,
        )
        (made,) = self.make(CreateStream(stream=name, spec=spec, **HERE))
        assert isinstance(made, Stream)
        if shards:
            self.do(PlaceShards(items=(self.new_placement(name, *shards),)))
            assert self.row(name) is not None
        return made

    def new_placement(self, name: str, *shards: Placement) -> NewPlacement:
        stream: Stream = self.catalog.store.tables["Stream"].rows[("acme", "prod", name)]
        return NewPlacement(stream=stream_name(name), stream_id=stream.stream_id, placements=shards)

    def row(self, name: str) -> ShardPlacement | None:
        found: ShardPlacement | None = self.catalog.store.tables["ShardPlacement"].rows.get(
            ("acme", "prod", name)
        )
        return found

    def shard(self, name: str, shard_id: int = 0) -> Placement:
        row = self.row(name)
        assert row is not None
        return row.placements[shard_id]

    def set_status(self, broker_id: str, status: BrokerStatus) -> Applied:
        before = self.broker(broker_id)
        applied = self.do(
            ChangeBrokerStatus(
                broker_id=broker_id,
                broker_epoch=before.broker_epoch,
                from_status=before.status,
                to_status=status,
                reason="said the test",
            )
        )
        assert not isinstance(applied.result, ErrorReply), applied.result
        return applied

    def down(self, *broker_ids: str) -> None:
        for broker_id in broker_ids:
            self.set_status(broker_id, "down")

    def back(self, broker_id: str) -> None:
        self.set_status(broker_id, "active")

    def say_in_sync(self, name: str, *in_sync: str, shard_id: int = 0) -> Applied:
        """Let the leader of a shard say whose copies are in sync."""
        change = self.in_sync_change(name, *in_sync, shard_id=shard_id)
        return self.do(ChangeInSync(items=(change,)))

    def in_sync_change(self, name: str, *in_sync: str, shard_id: int = 0) -> InSyncChange:
        row, shard = self.row(name), self.shard(name, shard_id)
        assert row is not None
        return InSyncChange(
            stream=stream_name(name),
            stream_id=row.stream_id,
            shard_id=shard_id,
            generation=shard.generation,
            in_sync=in_sync,
        )

    def put_moves(self, *moves: ShardMove) -> None:
        """Have moves in the tables without the commands that begin them."""
        rows = self.catalog.store.tables[MOVES].rows
        keys = [move_key(one.move_id) for one in moves]
        steps = [Step(MOVES, key, rows.get(key), one) for key, one in zip(keys, moves, strict=True)]
        self.catalog._take_all(steps)  # no command leaves just these behind

    def put_placement(self, row: ShardPlacement) -> None:
        """Have a placement that commands alone would take long to reach."""
        version = self.catalog.version + 1
        after = msgspec.structs.replace(row, version=version)
        before = self.catalog.store.tables["ShardPlacement"].rows[row.key]
        step = Step("ShardPlacement", row.key, before, after)
        self.catalog._take_all([step])  # likewise


def capacity(max_shards: int) -> BrokerCapacity:
    return BrokerCapacity(max_shards=max_shards)


def check_rules(log: CatalogLog) -> None:
    """Check what must hold of brokers and placements whatever has happened."""
    tables = log.catalog.store.tables
    brokers: dict[str, Broker] = {one.broker_id: one for one in tables["Broker"].rows.values()}
    up = {name for name, one in brokers.items() if one.status != "down"}
    for key, row in tables["ShardPlacement"].rows.items():
        stream: Stream = tables["Stream"].rows.get(key) or tables[DELETED_STREAMS].rows[key]
        assert row.stream_id == stream.stream_id
        assert [one.shard_id for one in row.placements] == list(range(stream.spec.shards))
        for shard in row.placements:
            check_shard(shard, stream.spec.durability, set(brokers), up)
    for name, one in brokers.items():
        if one.status != "down":
            assert (one.status == "active") == (not one.drain), one
        if one.status == "drained":
            assert log.catalog.placement.copies(name) == 0
    check_index(log)


def check_shard(shard: Placement, durability: Durability, known: set[str], up: set[str]) -> None:
    held = shard.copies
    assert len(set(held)) == len(held), "two copies on one broker"
    assert shard.leader not in shard.replicas
    assert set(held) <= known
    assert set(shard.in_sync) <= set(held)
    assert bool(shard.in_sync) == bool(held), "nobody has the data"
    assert set(shard.in_sync) <= up or len(shard.in_sync) == 1
    assert bool(shard.reason) == (not shard.leader)
    if shard.leader:
        assert shard.leader in up
        assert shard.leader in shard.in_sync
    else:
        assert not up & set(shard.in_sync), "a live copy in sync, and nobody leads"
        assert durability == "durable" or not up & set(held), "a live copy, and nobody leads"
        assert not shard.is_fenced


def check_index(log: CatalogLog) -> None:
    """Compare the index with what the tables say when read from end to end."""
    index, tables = log.catalog.placement, log.catalog.store.tables
    again = PlacementIndex(log.catalog.store)
    again.restore()
    rows: list[ShardPlacement] = list(tables["ShardPlacement"].rows.values())
    for (name,) in tables["Broker"].keys:
        held = [(row.key, one) for row in rows for one in row.placements if name in one.copies]
        assert index.copies(name) == len(held)
        assert index.leads(name) == sum(one.leader == name for _, one in held)
        assert index.streams_on(name) == sorted({key for key, _ in held})
        assert index.moves_with(name) == again.moves_with(name)
    placed = {row.key for row in rows}
    live = [one for one in tables["Stream"].rows.values() if not one.deleted_at_ms]
    lost = {row.key for row in rows if not all(one.copies for one in row.placements)}
    unplaced = {one.key for one in live if one.key not in placed or one.key in lost}
    assert index.unplaced() == sorted(unplaced)
    headless = {
        row.key
        for row in rows
        if row.key in tables["Stream"].rows
        and any(one.copies and not one.leader for one in row.placements)
    }
    assert index.leaderless() == sorted(headless)
    assert index.incomplete() == again.incomplete()
    assert index.short() == again.short()
    assert index.totals == again.totals
    shards = [one for row in rows for one in row.placements]
    assert index.shard_copies == sum(len(one.copies) for one in shards)
    assert index.led == sum(bool(one.leader) for one in shards)
    assert index.moves() == again.moves()
