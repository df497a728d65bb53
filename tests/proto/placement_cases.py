"""What the golden vectors of brokers and placement are made of."""

from __future__ import annotations

from typing import Any, Final

from felix.proto import brokers, placement_commands, queries, reports, resources
from felix.proto.rpc import AnyRequest

STREAM: Final = brokers.StreamName("acme", "prod", "orders")
STREAM_ID: Final = "st-000000000003"
SHARD: Final = brokers.Placement(
    shard_id=0,
    leader="broker-1",
    replicas=("broker-2", "broker-3"),
    in_sync=("broker-1", "broker-2"),
    generation=4,
)
WAITING: Final = brokers.Placement(
    shard_id=1, replicas=("broker-3",), in_sync=("broker-3",), generation=2, reason="it is down"
)
CAPACITY: Final = brokers.BrokerCapacity(max_shards=5000, max_connections=100_000)
BROKER: Final = resources.Broker(
    broker_id="broker-1",
    address="10.0.1.1:5000",
    region="eu-central",
    availability_zone="eu-central-1",
    capacity=CAPACITY,
    metadata={"pod_name": "broker-1"},
    status="draining",
    status_since_ms=1_760_000_000_009,
    drain=True,
    boot_id="3f2a",
    broker_epoch=7,
    version=8,
    created_version=7,
    created_at_ms=1_760_000_000_007,
    updated_at_ms=1_760_000_000_009,
)
PLACED: Final = resources.ShardPlacement(
    tenant_id="acme",
    namespace="prod",
    stream="orders",
    stream_id=STREAM_ID,
    placements=(SHARD, WAITING),
    version=9,
    created_version=9,
    created_at_ms=1_760_000_000_010,
    updated_at_ms=1_760_000_000_010,
)
BRIDGE: Final = resources.Bridge(
    name="eu-to-us",
    source_region="eu-central",
    target_region="us-east",
    streams=(STREAM,),
    version=10,
    created_version=10,
    created_at_ms=1_760_000_000_011,
    updated_at_ms=1_760_000_000_011,
)
PLAN: Final = brokers.MovePlan(
    base_version=9,
    reason="drain",
    moves=(
        brokers.PlannedMove(
            stream=STREAM, shard_id=0, kind="replica", from_broker="broker-1", to_broker="broker-4"
        ),
    ),
    blocked_by=(brokers.Unmet(stream=STREAM, shard_id=1, why="it has no leader"),),
    before=brokers.Quality(copies_spread=3),
)
MOVE: Final = brokers.ShardMove(
    move_id="12-1",
    plan_id="12",
    stream=STREAM,
    stream_id=STREAM_ID,
    shard_id=0,
    kind="replica",
    from_broker="broker-1",
    to_broker="broker-4",
    reason="drain",
    step="staging",
    original=SHARD,
    created_at_ms=1_760_000_000_012,
    step_since_ms=1_760_000_000_013,
)
SAID: Final = brokers.ShardStatus(
    stream=STREAM,
    shard_id=0,
    role="leader",
    generation=4,
    in_sync=("broker-1", "broker-2"),
    subscribers=3,
)


def requests() -> list[AnyRequest]:
    """Every command, query and report about brokers and placement."""
    return [*_commands(), *_questions(), *_reports()]


def _commands() -> list[AnyRequest]:
    broker: Any = {"broker_id": "broker-1"}
    stream: Any = {"tenant_id": "acme", "namespace": "prod", "stream": "orders"}
    shard: Any = {"stream": STREAM, "shard_id": 0}
    new = brokers.NewPlacement(stream=STREAM, stream_id=STREAM_ID, placements=(SHARD,))
    change = brokers.InSyncChange(
        **shard, stream_id=STREAM_ID, generation=4, in_sync=("broker-1", "broker-2")
    )
    advance = brokers.MoveAdvance(move_id="12-1", from_step="waiting", to_step="staging")
    return [
        placement_commands.RegisterBroker(
            **broker,
            address=BROKER.address,
            boot_id="3f2a",
            region=BROKER.region,
            capacity=CAPACITY,
            metadata=BROKER.metadata,
        ),
        placement_commands.UpdateBroker(**broker, region="", expected_version=8),
        placement_commands.DeregisterBroker(**broker, broker_epoch=7),
        placement_commands.ChangeBrokerStatus(
            **broker, broker_epoch=7, from_status="active", to_status="down", reason="silent"
        ),
        placement_commands.DrainBroker(**broker),
        placement_commands.CancelDrain(**broker),
        placement_commands.RemoveBroker(**broker, abandon=True),
        placement_commands.PlaceShards(items=(new,)),
        placement_commands.ChangeInSync(items=(change,)),
        placement_commands.StartMoves(plan=PLAN),
        placement_commands.AdvanceMoves(items=(advance,)),
        placement_commands.CancelMoves(plan_id="12"),
        placement_commands.PausePlacement(reason="maintenance"),
        placement_commands.ResumePlacement(),
        placement_commands.AbandonShard(**shard),
        placement_commands.UndeleteStream(**stream),
        placement_commands.PurgeStream(**stream, stream_id=STREAM_ID, now=True),
        placement_commands.PutBridge(
            name="eu-to-us",
            source_region="eu-central",
            target_region="us-east",
            streams=(STREAM,),
        ),
        placement_commands.DeleteBridge(name="eu-to-us"),
    ]


def _questions() -> list[AnyRequest]:
    stream: Any = {"tenant_id": "acme", "namespace": "prod", "stream": "orders"}
    return [
        queries.GetBroker(broker_id="broker-1"),
        queries.ListBrokers(status="down", region="eu-central"),
        queries.GetPlacement(**stream),
        queries.ListPlacements(broker_id="broker-1", is_incomplete=True),
        queries.ListBridges(),
        queries.GetBridge(name="eu-to-us"),
        queries.ListShardMoves(stream=STREAM, is_under_way=True),
        queries.GetPlacementPlan(),
        queries.PlanRebalance(strategy="MINIMIZE_MOVEMENT"),
        queries.GetBrokersHealth(),
        queries.WaitForBrokers(version=9),
    ]


def _reports() -> list[AnyRequest]:
    applied: Any = {
        "broker_id": "broker-1",
        "broker_epoch": 7,
        "applied_version": 9,
        "applied_epoch": 1,
        "applied_digest": "0" * 32,
    }
    return [
        reports.ReportHealth(
            **applied,
            status=brokers.HealthStatus(uptime_seconds=60),
            metrics=brokers.BrokerMetrics(connections=12, cpu_ratio=0.25),
            shard_status=(SAID,),
            usage=(
                brokers.NamespaceUsage(
                    tenant_id="acme", namespace="prod", publish_per_s=2.5, storage_bytes=1024
                ),
            ),
        ),
        reports.ReportApplied(**applied),
    ]


def answers() -> dict[str, tuple[str, Any, int]]:
    """Every answer about brokers and placement, by name: what it is, the record, the version."""
    health = brokers.BrokerHealth(
        broker_id="broker-1", heard_ms_ago=1200, applied_version=9, why_not="it is to be empty"
    )
    return {
        "broker": ("the answer to DrainBroker", BROKER, 8),
        "placement": ("who holds the shards of a stream", PLACED, 9),
        "bridge": ("the answer to PutBridge", BRIDGE, 10),
        "shard-moves": ("moves of shards, newest first", brokers.ShardMoves([MOVE], "MTI"), 10),
        "placement-plan": (
            "what placement does next",
            brokers.PlacementPlan(PLAN, brokers.PlacementSettings(is_paused=True), PLAN.blocked_by),
            10,
        ),
        "brokers-health": (
            "what the leader has heard of brokers",
            brokers.BrokersHealth([health], 15_000),
            10,
        ),
        "health-ack": (
            "the answer to a report",
            brokers.HealthAck(3, 10, 5000, "draining", drain=True),
            0,
        ),
        "applied-by": (
            "which brokers have a version",
            brokers.AppliedBy(9, 2, 3, ["broker-3"], is_reached=False),
            10,
        ),
    }
