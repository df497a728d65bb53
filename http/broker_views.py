"""Answers about brokers and placement."""

from __future__ import annotations

import msgspec

from felix.http.broker_parts import (
    CapacityView,
    FeelingView,
    MetricsView,
    QualityView,
    ShardView,
    spelled_out,
)
from felix.http.times import rfc3339
from felix.proto.brokers import (
    BrokerHealth,
    BrokerStatus,
    MoveKind,
    MovePlan,
    MoveReason,
    MoveStep,
    PlacementPlan,
    PlannedMove,
    ShardMove,
    Strategy,
    Unmet,
)
from felix.proto.resources import Bridge, Broker, ShardPlacement


class BrokerView(msgspec.Struct, frozen=True, kw_only=True):
    """A broker (seed, "Broker Registration")."""

    broker_id: str
    address: str
    region: str
    availability_zone: str
    capacity: CapacityView
    metadata: dict[str, str]
    status: BrokerStatus
    status_since: str
    status_reason: str
    drain: bool
    broker_epoch: int
    version: int
    created_version: int
    created_at: str
    updated_at: str


class BrokerStateView(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader has heard of a broker."""

    heard_ms_ago: int | None
    status: FeelingView
    metrics: MetricsView
    applied_version: int
    lag_versions: int
    is_wrong: bool
    subscribers: int
    accepts_shards: bool
    why_not: str
    copies: int
    leads: int


class BrokerWithHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A broker and how it does; `health` is null while no leader can be asked."""

    broker: BrokerView
    health: BrokerStateView | None


class BrokerPage(msgspec.Struct, frozen=True):
    """Brokers in the order of names."""

    items: list[BrokerWithHealth]
    next_page_token: str


class PlacementView(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a stream's shards (seed, "Shard Placement")."""

    tenant_id: str
    namespace: str
    stream: str
    stream_id: str
    placements: list[ShardView]
    version: int
    created_version: int
    created_at: str
    updated_at: str


class PlacementPage(msgspec.Struct, frozen=True):
    """Placements in the order of streams."""

    items: list[PlacementView]
    next_page_token: str


class BridgeView(msgspec.Struct, frozen=True, kw_only=True):
    """Streams of one region that have copies in another."""

    name: str
    source_region: str
    target_region: str
    streams: list[str]
    encryption_key_id: str
    version: int
    created_version: int
    created_at: str
    updated_at: str


class BridgePage(msgspec.Struct, frozen=True):
    """Bridges in the order of names."""

    items: list[BridgeView]
    next_page_token: str


class MoveView(msgspec.Struct, frozen=True, kw_only=True):
    """A move of a shard (seed, `ShardMove`)."""

    move_id: str
    plan_id: str
    tenant_id: str
    namespace: str
    stream: str
    shard_id: int
    kind: MoveKind
    from_broker: str
    to_broker: str
    reason: MoveReason
    status: MoveStep
    since: str
    created_at: str
    blocked_by: str


class MovePage(msgspec.Struct, frozen=True):
    """Moves, newest first."""

    items: list[MoveView]
    next_page_token: str


class PlannedMoveView(msgspec.Struct, frozen=True, kw_only=True):
    """A move that a plan wants."""

    tenant_id: str
    namespace: str
    stream: str
    shard_id: int
    kind: MoveKind
    from_broker: str
    to_broker: str


class UnmetView(msgspec.Struct, frozen=True, kw_only=True):
    """What cannot be reached, and why."""

    tenant_id: str
    namespace: str
    stream: str
    shard_id: int
    why: str


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, carried out or not (seed, `RebalanceShardsResponse`)."""

    plan_id: str
    """Empty: nothing was done."""
    base_version: int
    reason: MoveReason
    strategy: Strategy | None
    moves: list[PlannedMoveView]
    blocked_by: list[UnmetView]
    before: QualityView
    after: QualityView
    moves_min: int


class PlacementPlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What placement does next by itself, and what it cannot."""

    plan: PlanView
    is_paused: bool
    paused_reason: str
    unplaced: list[UnmetView]
    under_replicated: int


def broker_view(broker: Broker) -> BrokerView:
    """Render a broker."""
    return BrokerView(
        broker_id=broker.broker_id,
        address=broker.address,
        region=broker.region,
        availability_zone=broker.availability_zone,
        capacity=spelled_out(broker.capacity, CapacityView),
        metadata=broker.metadata,
        status=broker.status,
        status_since=rfc3339(broker.status_since_ms),
        status_reason=broker.status_reason,
        drain=broker.drain,
        broker_epoch=broker.broker_epoch,
        version=broker.version,
        created_version=broker.created_version,
        created_at=rfc3339(broker.created_at_ms),
        updated_at=rfc3339(broker.updated_at_ms),
    )


def broker_with_health(broker: Broker, health: BrokerHealth | None) -> BrokerWithHealth:
    """Render a broker with what the leader has heard of it."""
    state = None if health is None else _state(health)
    return BrokerWithHealth(broker=broker_view(broker), health=state)


def _state(health: BrokerHealth) -> BrokerStateView:
    return BrokerStateView(
        heard_ms_ago=health.heard_ms_ago,
        status=spelled_out(health.health, FeelingView),
        metrics=spelled_out(health.metrics, MetricsView),
        applied_version=health.applied_version,
        lag_versions=health.lag_versions,
        is_wrong=health.is_wrong,
        subscribers=health.subscribers,
        accepts_shards=health.accepts_shards,
        why_not=health.why_not,
        copies=health.copies,
        leads=health.leads,
    )


def placement_view(row: ShardPlacement) -> PlacementView:
    """Render who holds a stream's shards."""
    return PlacementView(
        tenant_id=row.tenant_id,
        namespace=row.namespace,
        stream=row.stream,
        stream_id=row.stream_id,
        placements=[spelled_out(one, ShardView) for one in row.placements],
        version=row.version,
        created_version=row.created_version,
        created_at=rfc3339(row.created_at_ms),
        updated_at=rfc3339(row.updated_at_ms),
    )


def bridge_view(bridge: Bridge) -> BridgeView:
    """Render a bridge."""
    return BridgeView(
        name=bridge.name,
        source_region=bridge.source_region,
        target_region=bridge.target_region,
        streams=["/".join(one.key) for one in bridge.streams],
        encryption_key_id=bridge.encryption_key_id,
        version=bridge.version,
        created_version=bridge.created_version,
        created_at=rfc3339(bridge.created_at_ms),
        updated_at=rfc3339(bridge.updated_at_ms),
    )


def move_view(move: ShardMove) -> MoveView:
    """Render a move."""
    return MoveView(
        move_id=move.move_id,
        plan_id=move.plan_id,
        tenant_id=move.stream.tenant_id,
        namespace=move.stream.namespace,
        stream=move.stream.stream,
        shard_id=move.shard_id,
        kind=move.kind,
        from_broker=move.from_broker,
        to_broker=move.to_broker,
        reason=move.reason,
        status=move.step,
        since=rfc3339(move.step_since_ms),
        created_at=rfc3339(move.created_at_ms),
        blocked_by=move.blocked_by,
    )


def plan_view(plan: MovePlan, plan_id: str = "") -> PlanView:
    """Render a plan."""
    return PlanView(
        plan_id=plan_id,
        base_version=plan.base_version,
        reason=plan.reason,
        strategy=plan.strategy,
        moves=[_planned(move) for move in plan.moves],
        blocked_by=[_unmet(one) for one in plan.blocked_by],
        before=spelled_out(plan.before, QualityView),
        after=spelled_out(plan.after, QualityView),
        moves_min=plan.moves_min,
    )


def placement_plan_view(found: PlacementPlan) -> PlacementPlanView:
    """Render what placement is at."""
    return PlacementPlanView(
        plan=plan_view(found.plan),
        is_paused=found.settings.is_paused,
        paused_reason=found.settings.reason,
        unplaced=[_unmet(one) for one in found.unplaced],
        under_replicated=found.under_replicated,
    )


def _planned(move: PlannedMove) -> PlannedMoveView:
    return PlannedMoveView(
        tenant_id=move.stream.tenant_id,
        namespace=move.stream.namespace,
        stream=move.stream.stream,
        shard_id=move.shard_id,
        kind=move.kind,
        from_broker=move.from_broker,
        to_broker=move.to_broker,
    )


def _unmet(one: Unmet) -> UnmetView:
    return UnmetView(
        tenant_id=one.stream.tenant_id,
        namespace=one.stream.namespace,
        stream=one.stream.stream,
        shard_id=one.shard_id,
        why=one.why,
    )
