"""A life of a cluster of brokers, without clocks: what happens to them, and what placement does.

The catalog, the planning and the steps of moves are the real ones; brokers are a few sets of names.
The driver does what the PlacementPlanner actor does, and forgets it all when the leader changes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from felix.core.catalog.catalog import CatalogLimits
from felix.core.catalog.dump import restore
from felix.core.catalog.placement_tables import DELETED_STREAMS, MOVES, settings_of
from felix.core.catalog.planning import (
    Work,
    next_plans,
    placement_plan,
    rebalancing,
    whole_of,
    work_of,
)
from felix.core.placement.creating import place
from felix.core.placement.stepping import ShardKey, next_steps
from felix.proto.brokers import (
    ACTIVE_STEPS,
    BrokerCapacity,
    MovePlan,
    Placement,
    PlannedMove,
    ShardMove,
    ShardStatus,
    Strategy,
    StreamName,
)
from felix.proto.commands import AnyCommand, CreateStream, DeleteStream, Stamp
from felix.proto.errors import ErrorReply
from felix.proto.placement_commands import (
    AdvanceMoves,
    CancelDrain,
    CancelMoves,
    ChangeBrokerStatus,
    ChangeInSync,
    DeregisterBroker,
    DrainBroker,
    PausePlacement,
    PlaceShards,
    PutBridge,
    RegisterBroker,
    RemoveBroker,
    ResumePlacement,
    StartMoves,
    UndeleteStream,
    UpdateBroker,
)
from felix.proto.queries import PlanRebalance
from felix.proto.resources import Broker, ShardPlacement, Stream, StreamSpec
from tests.support.catalog_log import NOON_MS, dumped
from tests.support.placement_log import HERE, PlacementLog, check_rules, stream_name

BROKERS: Final = tuple(f"b{number}" for number in range(7))
STREAMS: Final = tuple(f"s{number}" for number in range(10))
REGIONS: Final = ("eu", "eu", "us")
STRATEGIES: Final[tuple[Strategy, ...]] = ("BALANCED", "MINIMIZE_MOVEMENT", "LOCALITY_AWARE")
TURN_MS: Final = 1000
GRACE_MS: Final = 12 * TURN_MS
DEAD_AFTER_TURNS: Final = 5
SETTLED_AFTER_TURNS: Final = 300


class Life:
    """One cluster from its first broker to its rest."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.log = PlacementLog()
        self.now_ms = NOON_MS
        self.alive: set[str] = set()
        """Brokers whose process runs, whatever the catalog says of them."""
        self.boots = 0
        self.down_for: Counter[str] = Counter()
        self.reports: dict[ShardKey, ShardStatus] = {}
        self.kept: MovePlan | None = None
        """A plan that an operator has looked at, and may send when it is no longer true."""
        self.came: Counter[str] = Counter()

    # --- commands -----------------------------------------------------------------------------

    def do(self, command: AnyCommand) -> Any:
        """Apply a command, and check that nothing is worse than before."""
        before, held, moves = self.shards(), self.held(), self.moves()
        result = self.log.apply_stamped(Stamp(self.now_ms), command).result
        refused = isinstance(result, ErrorReply)
        self.came[f"{type(command).__name__}{' refused' if refused else ''}"] += 1
        check_rules(self.log)
        self._check_generations(before)
        self._check_capacity(held)
        self._check_ended(command, before, moves)
        return result

    def shards(self) -> dict[tuple[str, int], Placement]:
        rows: Iterable[ShardPlacement] = self.tables["ShardPlacement"].rows.values()
        return {(row.stream_id, one.shard_id): one for row in rows for one in row.placements}

    def held(self) -> dict[str, int]:
        return {one.broker_id: self.log.index.copies(one.broker_id) for one in self.brokers()}

    def moves(self) -> dict[str, ShardMove]:
        return {one.move_id: one for one in self.log.index.moves()}

    @property
    def tables(self) -> Any:
        return self.log.catalog.store.tables

    def brokers(self) -> list[Broker]:
        rows = self.tables["Broker"].rows
        return [rows[key] for key in sorted(rows)]

    def _check_generations(self, before: dict[tuple[str, int], Placement]) -> None:
        for place_of, now in self.shards().items():
            earlier = before.get(place_of)
            if earlier is None:
                assert now.generation == 1
                continue
            is_other = now.leader != earlier.leader or (earlier.is_fenced and not now.is_fenced)
            assert now.generation >= earlier.generation + is_other, (earlier, now)

    def _check_capacity(self, before: dict[str, int]) -> None:
        for one in self.brokers():
            now, most = self.log.index.copies(one.broker_id), one.capacity.max_shards
            assert most is None or now <= max(most, before.get(one.broker_id, 0)), one

    def _check_ended(
        self,
        command: AnyCommand,
        before: dict[tuple[str, int], Placement],
        moves: dict[str, ShardMove],
    ) -> None:
        """What was cancelled or has failed left the copies there were, unless the new one is all
        that the shard has."""
        for move in moves.values():
            rows = self.tables[MOVES].rows
            now: ShardMove = next(one for one in rows.values() if one.move_id == move.move_id)
            if now.step not in ACTIVE_STEPS:
                self.came[f"{now.reason} {now.kind} {now.step}"] += 1
            shard = self.shards().get((move.stream_id, move.shard_id))
            was = before.get((move.stream_id, move.shard_id))
            if now.step not in {"cancelled", "failed"} or shard is None or was is None:
                continue
            assert not shard.is_fenced
            if move.original is None:
                continue
            if was.leader == move.to_broker:
                assert move.kind == "leader" or move.from_broker not in shard.copies
                continue
            known = {one.broker_id for one in self.brokers()}
            assert set(shard.copies) == set(move.original.copies) & known, (move, was, shard)
            is_asked = isinstance(command, CancelMoves | AdvanceMoves)
            if is_asked and was.generation == move.original.generation:
                assert shard.leader == move.original.leader

    # --- the driver ---------------------------------------------------------------------------

    def turn(self) -> bool:
        """Do what the leader does in one turn. Tells whether there was anything to do."""
        self.now_ms += TURN_MS
        version = self.log.catalog.version
        moves_before = len(self.log.entries)
        self._find_drained()
        work = work_of(self.log.catalog, self.now_ms)
        for row in work.fleet.brokers:
            self.down_for[row.broker_id] += 1
            if row.status != "down":
                del self.down_for[row.broker_id]
        for command in self._decide(work):
            result = self.do(command)
            assert not isinstance(result, ErrorReply), (command, result)
        return self.log.catalog.version != version or len(self.log.entries) != moves_before

    def _find_drained(self) -> None:
        for one in self.brokers():
            if one.status == "draining" and not self.log.index.copies(one.broker_id):
                self._set_status(one, "drained")

    def _decide(self, work: Work) -> list[AnyCommand]:
        commands = self._commands(work)
        assert commands == self._commands(work), "the same twice is not the same"
        assert commands == self._commands(self._shuffled(work)), "order matters"
        return commands

    def _commands(self, work: Work) -> list[AnyCommand]:
        commands: list[AnyCommand] = list(work.due)
        fleet = work.fleet
        steps = next_steps(
            fleet.moves, work.moving, fleet.brokers, self.reports, self.now_ms, work.settings
        )
        if steps:
            commands.append(AdvanceMoves(items=steps))
        placed = place(fleet, work.unplaced)
        if placed.items:
            commands.append(PlaceShards(items=placed.items))
        if commands or work.settings.is_paused:
            return commands
        for plan in next_plans(work, (), self.dead()):
            if plan.moves:
                return [StartMoves(plan=msgspec.structs.replace(plan, blocked_by=()))]
        return []

    def dead(self) -> list[str]:
        return sorted(one for one, turns in self.down_for.items() if turns >= DEAD_AFTER_TURNS)

    def _shuffled(self, work: Work) -> Work:
        """The same work, in another order wherever order means nothing."""

        def mixed(items: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(self.chance.sample(items, len(items)))

        fleet = msgspec.structs.replace(
            work.fleet, brokers=mixed(work.fleet.brokers), bridges=mixed(work.fleet.bridges)
        )
        return msgspec.structs.replace(work, fleet=fleet, unplaced=mixed(work.unplaced))

    def forget(self) -> None:
        """Another node leads: it knows the catalog and nothing else."""
        self.reports.clear()
        self.down_for.clear()
        if self.chance.random() < 0.5:
            proof = self.log.catalog.proof
            chunks = dumped(self.log.catalog, records=self.chance.randrange(1, 50))
            self.log.catalog = restore(chunks, CatalogLimits())
            assert self.log.catalog.proof == proof
            check_rules(self.log)
        self.came["another leader"] += 1

    # --- what brokers report ------------------------------------------------------------------

    def report(self, *, all_is_well: bool = False) -> None:
        """Let the leaders of shards say who has everything, and whether they are drained."""
        rows: list[ShardPlacement] = [*self.tables["ShardPlacement"].rows.values()]
        for row in rows:
            for shard in row.placements:
                if shard.leader in self.alive and (all_is_well or self.chance.random() < 0.7):
                    self._report_of(row, shard, all_is_well=all_is_well)

    def _report_of(self, row: ShardPlacement, shard: Placement, *, all_is_well: bool) -> None:
        name = stream_name(row.stream)
        if shard.is_fenced and (all_is_well or self.chance.random() < 0.5):
            self.reports[(name, shard.shard_id)] = ShardStatus(
                stream=name,
                shard_id=shard.shard_id,
                role="leader",
                generation=shard.generation,
                is_drained=True,
            )
        said = {shard.leader}
        for one in shard.replicas:
            stays = 0.97 if one in shard.in_sync else 0.5
            if one in self.alive and (all_is_well or self.chance.random() < stays):
                said.add(one)
        if tuple(sorted(said)) != shard.in_sync:
            change = self.log.in_sync_change(row.stream, *sorted(said), shard_id=shard.shard_id)
            before = self.log.catalog.version
            self.do(ChangeInSync(items=(change,)))
            self.came["in sync"] += self.log.catalog.version != before

    # --- what happens -------------------------------------------------------------------------

    def happen(self) -> None:
        """Let something happen, or nothing."""
        weights = {
            self.join: 4,
            self.die: 4,
            self.be_found_down: 6,
            self.come_back: 6,
            self.stop: 1,
            self.drain: 2,
            self.cancel_drain: 2,
            self.remove: 1,
            self.create: 8,
            self.delete: 4,
            self.undelete: 4,
            self.rebalance: 3,
            self.move: 4,
            self.cancel: 3,
            self.pause: 1,
            self.resume: 3,
            self.resize: 1,
            self.bridge: 1,
            self.forget: 1,
            self.rest: 10,
        }
        (event,) = self.chance.choices(list(weights), list(weights.values()))
        event()

    def rest(self) -> None:
        """Let nothing happen."""

    def _any_broker(self, *statuses: str) -> Broker | None:
        found = [one for one in self.brokers() if not statuses or one.status in statuses]
        return self.chance.choice(found) if found else None

    def _set_status(self, broker: Broker, status: Any) -> Any:
        return self.do(
            ChangeBrokerStatus(
                broker_id=broker.broker_id,
                broker_epoch=broker.broker_epoch,
                from_status=broker.status,
                to_status=status,
            )
        )

    def register(self, name: str, capacity: BrokerCapacity) -> None:
        number = BROKERS.index(name)
        self.boots += 1
        command = RegisterBroker(
            broker_id=name,
            boot_id=f"boot-{self.boots}",
            address=f"{name}:5000",
            region=REGIONS[number % 3],
            availability_zone=f"z{number % 2}",
            capacity=capacity,
        )
        assert not isinstance(self.do(command), ErrorReply)
        self.alive.add(name)

    def join(self) -> None:
        name = self.chance.choice(BROKERS)
        if name not in self.alive:
            self.register(name, BrokerCapacity(max_shards=self.chance.choice((None, None, 8))))

    def die(self) -> None:
        if self.alive:
            self.alive.discard(self.chance.choice(sorted(self.alive)))

    def be_found_down(self) -> None:
        """Mostly the dead, now and then one that was only slow."""
        for one in self.brokers():
            silent = one.broker_id not in self.alive
            if one.status != "down" and self.chance.random() < (0.7 if silent else 0.02):
                self._set_status(one, "down")

    def come_back(self) -> None:
        broker = self._any_broker("down")
        if broker is None:
            return
        if broker.boot_id and self.chance.random() < 0.6:
            self.alive.add(broker.broker_id)
            self._set_status(broker, "active")
        else:
            self.register(broker.broker_id, broker.capacity)

    def stop(self) -> None:
        broker = self._any_broker("active", "draining", "drained")
        if broker is not None:
            self.alive.discard(broker.broker_id)
            epoch = broker.broker_epoch
            self.do(DeregisterBroker(broker_id=broker.broker_id, broker_epoch=epoch))

    def drain(self) -> None:
        everyone = self.chance.random() < 0.05
        broker = self._any_broker()
        for one in self.brokers() if everyone else [broker]:
            if one is not None:
                self.do(DrainBroker(broker_id=one.broker_id))

    def cancel_drain(self) -> None:
        broker = self._any_broker("draining", "drained", "down")
        if broker is not None:
            self.do(CancelDrain(broker_id=broker.broker_id))

    def remove(self) -> None:
        broker = self._any_broker("drained", "down")
        if broker is not None and broker.broker_id not in self.alive:
            self.do(RemoveBroker(broker_id=broker.broker_id))
            self.down_for.pop(broker.broker_id, None)

    def create(self) -> None:
        spec = StreamSpec(
            shards=self.chance.randrange(1, 4),
            replication_factor=self.chance.randrange(1, 4),
            durability=self.chance.choice(("durable", "ephemeral")),
            regions=self.chance.choice(((), (), ("eu",), ("us", "eu"))),
        )
        self.do(CreateStream(stream=self.chance.choice(STREAMS), spec=spec, **HERE))

    def delete(self) -> None:
        grace_ms = self.chance.choice((0, GRACE_MS))
        force = self.chance.random() < 0.3
        name = self.chance.choice(STREAMS)
        self.do(DeleteStream(stream=name, grace_ms=grace_ms, force=force, **HERE))

    def undelete(self) -> None:
        deleted = sorted(self.tables[DELETED_STREAMS].rows)
        if deleted:
            self.do(UndeleteStream(stream=self.chance.choice(deleted)[-1], **HERE))

    def rebalance(self) -> None:
        """Ask for a plan, and carry it out at once or when much has changed."""
        query = PlanRebalance(strategy=self.chance.choice(STRATEGIES))
        plan = rebalancing(query, whole_of(self.log.catalog), ()).plan
        assert plan == rebalancing(query, whole_of(self.log.catalog), ()).plan
        earlier = self.kept if self.chance.random() < 0.2 else None
        if self.chance.random() < 0.2:
            self.kept = plan
        result = self.do(StartMoves(plan=earlier or plan))
        assert earlier or not isinstance(result, ErrorReply), (plan, result)

    def move(self) -> None:
        rows: list[ShardPlacement] = [*self.tables["ShardPlacement"].rows.values()]
        if not rows or not self.brokers():
            return
        row = self.chance.choice(rows)
        shard = self.chance.choice(row.placements)
        target = self.chance.choice(self.brokers()).broker_id
        source = shard.leader
        if shard.copies and self.chance.random() < 0.5:
            source = self.chance.choice(shard.copies)
        move = PlannedMove(
            stream=stream_name(row.stream),
            shard_id=shard.shard_id,
            kind="leader" if target in shard.replicas else "replica",
            from_broker=source,
            to_broker=target,
        )
        plan = MovePlan(base_version=self.log.catalog.version, reason="operator", moves=(move,))
        self.do(StartMoves(plan=plan))

    def cancel(self) -> None:
        moves = sorted(self.moves().values(), key=lambda one: one.move_id)
        if moves:
            move = self.chance.choice(moves)
            whole = self.chance.random() < 0.3
            self.do(
                CancelMoves(plan_id=move.plan_id) if whole else CancelMoves(move_id=move.move_id)
            )

    def pause(self) -> None:
        self.do(PausePlacement(reason="maintenance"))

    def resume(self) -> None:
        self.do(ResumePlacement())

    def resize(self) -> None:
        broker = self._any_broker()
        if broker is not None:
            capacity = BrokerCapacity(max_shards=self.chance.choice((None, 4, 10)))
            self.do(UpdateBroker(broker_id=broker.broker_id, capacity=capacity))

    def bridge(self) -> None:
        streams = sorted(self.tables["Stream"].rows)
        if streams:
            name = StreamName(*self.chance.choice(streams))
            self.do(PutBridge(name="x", source_region="eu", target_region="us", streams=(name,)))

    # --- the end ------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything be up and large enough, and wait until nothing is to be done."""
        if not self.brokers():
            self.join()
        for one in self.brokers():
            if one.status == "down" or one.broker_id not in self.alive:
                self.register(one.broker_id, BrokerCapacity())
            self.do(UpdateBroker(broker_id=one.broker_id, capacity=BrokerCapacity()))
        if all(one.drain for one in self.brokers()):
            self.cancel_drain()
        self.do(ResumePlacement())
        self.now_ms += GRACE_MS
        quiet = 0
        for _ in range(SETTLED_AFTER_TURNS):
            self.report(all_is_well=True)
            quiet = 0 if self.turn() else quiet + 1
            if quiet > 2:
                return
        raise AssertionError(f"still at work: {self.moves().values()}")

    def check_rest(self) -> None:
        """Everything is where it should be, or the plan says why it is not."""
        assert not self.moves()
        assert not settings_of(self.log.catalog.store).is_paused
        work = work_of(self.log.catalog, self.now_ms)
        plan = placement_plan(work, (), ())
        said = {(one.stream, one.shard_id) for one in (*plan.plan.blocked_by, *plan.unplaced)}
        active = [one for one in self.brokers() if one.status == "active"]
        for key, stream in sorted(self.tables["Stream"].rows.items()):
            self._check_stream(key, stream, active, said)
        for one in self.brokers():
            assert not one.drain or one.status == "drained" or self._is_stuck(one, said), one
            self.came[f"rests {one.status}"] += 1

    def _check_stream(
        self, key: Any, stream: Stream, active: list[Broker], said: set[tuple[StreamName, int]]
    ) -> None:
        allowed = [
            one for one in active if not stream.spec.regions or one.region in stream.spec.regions
        ]
        row: ShardPlacement | None = self.tables["ShardPlacement"].rows.get(key)
        if row is None:
            assert not allowed, f"{key} is not placed"
            assert (StreamName(*key), 0) in said
            return
        wanted = min(stream.spec.replication_factor, max(1, len(allowed)))
        for shard in row.placements:
            assert shard.leader, shard
            assert not shard.is_fenced
            assert wanted <= len(shard.copies) <= stream.spec.replication_factor, (key, shard)
            assert set(shard.in_sync) == set(shard.copies)

    def _is_stuck(self, broker: Broker, said: set[tuple[StreamName, int]]) -> bool:
        """All that it holds has nowhere to go, and is said to."""
        name = broker.broker_id
        rows: Iterable[ShardPlacement] = self.tables["ShardPlacement"].rows.values()
        held = [
            (stream_name(row.stream), one.shard_id)
            for row in rows
            for one in row.placements
            if name in one.copies
        ]
        return bool(held) and set(held) <= said
