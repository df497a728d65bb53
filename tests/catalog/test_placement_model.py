"""Whatever happens to brokers and shards in whatever order, the rules of placement hold."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

import msgspec

from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import restore
from felix.core.catalog.validation import check
from felix.proto.brokers import ACTIVE_STEPS, BrokerCapacity, BrokerStatus, Placement, ShardMove
from felix.proto.command import Command
from felix.proto.commands import (
    AnyCommand,
    CreateStream,
    DeleteNamespace,
    DeleteStream,
    Stamp,
    UpdateStream,
)
from felix.proto.errors import ErrorReply
from felix.proto.placement_commands import (
    AbandonShard,
    CancelDrain,
    ChangeBrokerStatus,
    ChangeInSync,
    DeregisterBroker,
    DrainBroker,
    PlaceShards,
    PutBridge,
    RegisterBroker,
    RemoveBroker,
    UpdateBroker,
)
from felix.proto.resources import Broker, Durability, ShardPlacement, Stream, StreamSpec
from tests.support.catalog_log import NOON_MS, apply_entry, dumped, namespace
from tests.support.placement_log import HERE, PlacementLog, check_rules, stream_name

COMMANDS: Final = 3000
RESTARTS: Final = 0.01
BROKERS: Final = tuple(f"b{number}" for number in range(7))
STREAMS: Final = tuple(f"s{number}" for number in range(12))
REGIONS: Final = ("eu", "us")
STATUSES: Final[tuple[BrokerStatus, ...]] = ("active", "draining", "drained", "down")


class AnyPlacementCommand:
    """Makes up commands, most of them such that they have an effect."""

    def __init__(self, chance: random.Random, log: PlacementLog) -> None:
        self.chance = chance
        self.log = log
        self.boots = 0

    def next(self) -> AnyCommand:
        weights = {
            self.register: 8,
            self.status: 10,
            self.leave: 1,
            self.drain: 3,
            self.remove: 2,
            self.update: 1,
            self.create: 6,
            self.place: 12,
            self.in_sync: 12,
            self.abandon: 2,
            self.delete: 2,
            self.bridge: 1,
        }
        (make,) = self.chance.choices(list(weights), list(weights.values()))
        return make()

    def broker(self) -> Broker | None:
        rows: list[Broker] = [*self.log.catalog.store.tables["Broker"].rows.values()]
        return self.chance.choice(rows) if rows else None

    def register(self) -> AnyCommand:
        broker_id = self.chance.choice(BROKERS)
        if self.chance.random() < 0.7:
            self.boots += 1
        return RegisterBroker(
            broker_id=broker_id,
            boot_id=f"boot-{self.boots}",
            address=f"{broker_id}-{self.chance.choice('aaab')}:5000",
            region=self.chance.choice(REGIONS),
            capacity=BrokerCapacity(max_shards=self.chance.choice((None, None, 6))),
        )

    def status(self) -> AnyCommand:
        broker = self.broker()
        if broker is None:
            return self.register()
        wanted: BrokerStatus = "active" if broker.status == "down" else "down"
        if self.chance.random() < 0.2:
            wanted = self.chance.choice(STATUSES)
        epoch = broker.broker_epoch - (self.chance.random() < 0.05)
        return ChangeBrokerStatus(
            broker_id=broker.broker_id,
            broker_epoch=max(0, epoch),
            from_status=broker.status,
            to_status=wanted,
        )

    def leave(self) -> AnyCommand:
        broker = self.broker()
        epoch = broker.broker_epoch if broker is not None else 1
        broker_id = broker.broker_id if broker is not None else "b0"
        return DeregisterBroker(broker_id=broker_id, broker_epoch=epoch)

    def drain(self) -> AnyCommand:
        broker_id = self.chance.choice(BROKERS)
        kind = self.chance.choice((DrainBroker, CancelDrain, CancelDrain))
        return kind(broker_id=broker_id)

    def remove(self) -> AnyCommand:
        abandon = self.chance.random() < 0.5
        return RemoveBroker(broker_id=self.chance.choice(BROKERS), abandon=abandon)

    def update(self) -> AnyCommand:
        region = self.chance.choice(REGIONS)
        return UpdateBroker(broker_id=self.chance.choice(BROKERS), region=region)

    def create(self) -> AnyCommand:
        spec = StreamSpec(
            shards=self.chance.randrange(1, 4),
            replication_factor=self.chance.randrange(1, 4),
            durability=self.chance.choice(("durable", "ephemeral")),
            regions=self.chance.choice(((), (), ("eu",))),
        )
        return CreateStream(stream=self.chance.choice(STREAMS), spec=spec, **HERE)

    def place(self) -> AnyCommand:
        """Propose copies for some streams, by no means always such that may be."""
        names = [key[-1] for key in self.log.index.unplaced()]
        if not names:
            return self.create()
        items = []
        for name in self.chance.sample(names, min(len(names), 3)):
            stream: Stream = self.log.catalog.store.tables["Stream"].rows[("acme", "prod", name)]
            up = [one for one in BROKERS if self.log.index.copies(one) < 9]
            count = self.chance.randrange(1, 1 + stream.spec.replication_factor)
            shards = [self.copies(up, count, shard_id) for shard_id in range(stream.spec.shards)]
            items.append(self.log.new_placement(name, *shards))
        return PlaceShards(items=tuple(items))

    def copies(self, brokers: list[str], count: int, shard_id: int) -> Placement:
        names = self.chance.sample(brokers, min(count, len(brokers))) or ["b0"]
        return Placement(shard_id=shard_id, leader=names[0], replicas=tuple(names[1:]))

    def shard(self) -> tuple[ShardPlacement, Placement] | None:
        rows: list[ShardPlacement] = [
            *self.log.catalog.store.tables["ShardPlacement"].rows.values()
        ]
        if not rows:
            return None
        row = self.chance.choice(rows)
        return row, self.chance.choice(row.placements)

    def in_sync(self) -> AnyCommand:
        items = []
        for _ in range(self.chance.randrange(1, 4)):
            found = self.shard()
            if found is not None:
                row, shard = found
                said = {one for one in (*shard.copies, "b0") if self.chance.random() < 0.7}
                said |= {shard.leader} - {""}
                change = self.log.in_sync_change(row.stream, *sorted(said), shard_id=shard.shard_id)
                late = self.chance.random() < 0.1
                items.append(msgspec.structs.replace(change, generation=change.generation - late))
        return ChangeInSync(items=tuple(sorted(items, key=lambda one: one.stream.key)))

    def abandon(self) -> AnyCommand:
        names = [key[-1] for key in self.log.index.leaderless()] or ["s0"]
        return AbandonShard(
            stream=stream_name(self.chance.choice(names)), shard_id=self.chance.randrange(2)
        )

    def delete(self) -> AnyCommand:
        name = self.chance.choice(STREAMS)
        if self.chance.random() < 0.02:
            return DeleteNamespace(**HERE)
        if self.chance.random() < 0.5:
            durability: Durability = self.chance.choice(("durable", "ephemeral"))
            return UpdateStream(stream=name, durability=durability, **HERE)
        return DeleteStream(stream=name, force=True, **HERE)

    def bridge(self) -> AnyCommand:
        streams = (stream_name(self.chance.choice(STREAMS)),)
        return PutBridge(name="x", source_region="eu", target_region="us", streams=streams)

    def gone_epoch(self, command: Command) -> int:
        """Let the leader now and then know nothing of who has the id."""
        if not isinstance(command, RegisterBroker) or self.chance.random() < 0.5:
            return 0
        row: Broker | None = self.log.catalog.store.tables["Broker"].rows.get((command.broker_id,))
        return row.broker_epoch if row is not None else 0


def generations(log: PlacementLog) -> dict[tuple[str, int], Placement]:
    rows: list[ShardPlacement] = [*log.catalog.store.tables["ShardPlacement"].rows.values()]
    return {(row.stream_id, one.shard_id): one for row in rows for one in row.placements}


def check_generations(before: dict[tuple[str, int], Placement], log: PlacementLog) -> None:
    """A generation never goes back, and every change of leader or end of a fence raises it."""
    for place, now in generations(log).items():
        earlier = before.get(place)
        if earlier is None:
            assert now.generation == 1
            continue
        assert now.generation >= earlier.generation
        is_other = now.leader != earlier.leader or (earlier.is_fenced and not now.is_fenced)
        assert not is_other or now.generation > earlier.generation


def begin_or_end_a_move(log: PlacementLog, chance: random.Random, number: int) -> None:
    """Stand in for the planner: move some shard by a step, as the tables would have it."""
    moves = log.index.moves()
    if moves and chance.random() < 0.5:
        step_of_a_move(log, chance.choice(moves), chance)
        return
    rows: list[ShardPlacement] = [*log.catalog.store.tables["ShardPlacement"].rows.values()]
    names = [key[0] for key in log.catalog.store.tables["Broker"].keys]
    if not rows or not names:
        return
    row = chance.choice(rows)
    shard, target = chance.choice(row.placements), chance.choice(names)
    if log.index.move_of(row.key, shard.shard_id) or not shard.leader or target == shard.leader:
        return
    log.put_moves(
        ShardMove(
            move_id=f"{number}-1",
            plan_id=str(number),
            stream=stream_name(row.stream),
            stream_id=row.stream_id,
            shard_id=shard.shard_id,
            kind="leader" if target in shard.replicas else "replica",
            from_broker=shard.leader,
            to_broker=target,
            reason=chance.choice(("drain", "operator")),
        )
    )


def step_of_a_move(log: PlacementLog, move: ShardMove, chance: random.Random) -> None:
    """Take a move from waiting to staging, or behind the fence."""
    row, shard = log.row(move.stream.stream), log.shard(move.stream.stream, move.shard_id)
    assert row is not None
    if not shard.leader or log.broker(move.to_broker).status != "active":
        return  # nobody could copy from it, or to it
    original = move.original or shard
    if move.step == "waiting" and move.kind == "replica" and move.to_broker not in shard.copies:
        step: Any = "staging"
        shard = msgspec.structs.replace(shard, replicas=(*shard.replicas, move.to_broker))
    elif shard.leader == move.from_broker and move.to_broker in shard.in_sync:
        step = "fencing"
        shard = msgspec.structs.replace(shard, is_fenced=True)
    else:
        return
    assert step in ACTIVE_STEPS
    if chance.random() < 0.9:
        log.put_moves(msgspec.structs.replace(move, step=step, original=original))
        shards = [shard if one.shard_id == shard.shard_id else one for one in row.placements]
        log.put_placement(msgspec.structs.replace(row, placements=tuple(shards)))


def test_the_rules_hold_after_every_command_and_replicas_agree() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    log = PlacementLog()
    commands = AnyPlacementCommand(chance, log)
    replica, restarted = Catalog("c1"), Catalog("c1")
    for entry in log.entries:
        apply_entry(replica, entry)
        apply_entry(restarted, entry)
    came: Counter[str] = Counter()
    for number in range(COMMANDS):
        command = commands.next()
        check(command)
        before, version = generations(log), log.catalog.version
        stamp = Stamp(NOON_MS + number * 100, gone_epoch=commands.gone_epoch(command))
        applied = log.apply_stamped(stamp, command)
        name = type(command).__name__
        came[f"{name} refused" if isinstance(applied.result, ErrorReply) else name] += 1
        assert log.catalog.version == version + len(applied.updates)
        for change in log.catalog.history.since(version, len(applied.updates)):
            assert change.after is None or change.after.version == change.version
        check_rules(log)
        check_generations(before, log)
        if isinstance(command, DeleteNamespace):
            log.do(namespace())
            apply_both = log.entries[-2:]
        else:
            apply_both = log.entries[-1:]
        if chance.random() < RESTARTS:
            restarted = restore(dumped(restarted, records=chance.randrange(1, 50)), CatalogLimits())
            came["restart"] += 1
        for other in (replica, restarted):
            for entry in apply_both:
                apply_entry(other, entry)
            assert other.proof == log.catalog.proof
    assert dumped(restarted) == dumped(replica) == dumped(log.catalog)
    assert came["restart"], came
    for name in ("ChangeBrokerStatus", "RegisterBroker", "PlaceShards", "AbandonShard"):
        assert came[name], came


def test_the_rules_hold_while_shards_are_moving() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    log = PlacementLog()
    commands = AnyPlacementCommand(chance, log)
    ended: Counter[str] = Counter()
    for number in range(COMMANDS):
        begin_or_end_a_move(log, chance, number)
        check_rules(log)
        before, moves = generations(log), log.index.moves()
        command = commands.next()
        stamp = Stamp(NOON_MS + number * 100, gone_epoch=commands.gone_epoch(command))
        log.apply_stamped(stamp, command)
        if isinstance(command, DeleteNamespace):
            log.do(namespace())
        check_rules(log)
        check_generations(before, log)
        ids = {one.move_id for one in log.index.moves()}
        ended["over"] += sum(one.move_id not in ids for one in moves)
    again = restore(dumped(log.catalog), CatalogLimits())
    assert again.proof == log.catalog.proof
    assert again.placement.moves() == log.index.moves()
    assert ended["over"], "no move ever ended"
