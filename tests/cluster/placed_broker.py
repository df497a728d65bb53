"""Brokers that do with their shards what a test lets them do, and say so to the control plane."""

from __future__ import annotations

from felix.proto.brokers import HealthAck, ShardStatus, StreamName
from felix.proto.control_plane import Call
from felix.proto.errors import DeadlineExceeded, NoLeader, NotLeader, OutcomeUnknown
from felix.proto.placement_commands import RegisterBroker
from felix.proto.queries import Listing, ListPlacements
from felix.proto.reports import ReportHealth
from felix.proto.resources import Broker, ShardPlacement
from felix.proto.rpc import AnyRequest
from tests.cluster.fake_broker import FakeBroker
from tests.support.cluster import RunningNode
from tests.support.waiting import eventually


class PlacedBroker(FakeBroker):
    """Holds the copies that the catalog says it holds."""

    def __init__(self, name: str, nodes: list[RunningNode], zone: str = "") -> None:
        super().__init__(name, nodes)
        self.zone = zone
        self.copies_come = True
        """New copies are in sync at the next report."""
        self.drains = True
        """A fenced leader hands over at the next report."""

    def register(self) -> Broker:
        command = RegisterBroker(
            broker_id=self.name,
            address=self.address,
            boot_id=self.boot_id,
            availability_zone=self.zone,
        )
        found = asked(self.nodes, command)
        assert isinstance(found, Broker)
        self.epoch = found.broker_epoch
        return found

    def say(self, rows: list[ShardPlacement], up: set[str]) -> HealthAck:
        """Report all that it holds; `up` are brokers that run."""
        shards = tuple(
            self._status(row, shard_id, up)
            for row in rows
            for shard_id, shard in enumerate(row.placements)
            if self.name in shard.copies
        )
        said = ReportHealth(
            broker_id=self.name, broker_epoch=self.epoch, shard_status=shards, has_all_shards=True
        )
        found = asked(self.nodes, said)
        assert isinstance(found, HealthAck)
        return found

    def _status(self, row: ShardPlacement, shard_id: int, up: set[str]) -> ShardStatus:
        shard, stream = row.placements[shard_id], StreamName(*row.key)
        if shard.leader != self.name:
            return ShardStatus(
                stream=stream, shard_id=shard_id, role="follower", generation=shard.generation
            )
        in_sync = [
            one
            for one in shard.copies
            if one in up and (one in shard.in_sync or one == self.name or self.copies_come)
        ]
        return ShardStatus(
            stream=stream,
            shard_id=shard_id,
            role="leader",
            generation=shard.generation,
            in_sync=tuple(sorted(in_sync)),
            is_drained=shard.is_fenced and self.drains,
        )


TRANSIENT = (NoLeader, NotLeader, DeadlineExceeded, OutcomeUnknown)


def asked(nodes: list[RunningNode], message: AnyRequest) -> object:
    """Ask the first node that answers, again while nobody leads. What it asks can be said twice."""
    found: list[object] = []

    def is_answered() -> bool:
        for node in nodes:
            if node.is_running:
                try:
                    found.append(node.ask(message, Call(timeout_s=2.0)).result)
                except TRANSIENT:
                    continue
                return True
        return False

    eventually(is_answered, 30)
    return found[-1]


class Site:
    """All brokers of a test, and what they were told."""

    def __init__(self, nodes: list[RunningNode]) -> None:
        self.nodes = nodes
        self.running: dict[str, PlacedBroker] = {}

    def start(self, *names: str, zone: str = "") -> None:
        """Let brokers register."""
        for name in names:
            broker = PlacedBroker(name, self.nodes, zone)
            broker.register()
            self.running[name] = broker

    def placements(self) -> dict[str, ShardPlacement]:
        found = asked(self.nodes, ListPlacements())
        assert isinstance(found, Listing)
        return {one.stream: one for one in found.items if isinstance(one, ShardPlacement)}

    def beat(self) -> dict[str, ShardPlacement]:
        """Let every broker that runs obey and report once."""
        rows = self.placements()
        for broker in list(self.running.values()):
            broker.say([*rows.values()], set(self.running))
        return self.placements()
