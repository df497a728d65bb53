"""Brokers, who holds which shard, and what moves: the records behind placement.

`Broker` and `ShardPlacement` themselves are resources (`felix.proto.resources`); brokers hear of
them. What stands here are their parts, the moves and plans that only the control plane keeps, and
what brokers report.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

BrokerStatus = Literal["active", "draining", "drained", "down"]
MoveKind = Literal["replica", "leader"]
"""`replica`: a copy goes from one broker to another, and leadership with it if it had that.
`leader`: leadership passes inside the replica set."""
MoveStep = Literal["waiting", "staging", "fencing", "done", "cancelled", "failed"]
MoveReason = Literal["drain", "balance", "operator", "replace", "restore"]
Strategy = Literal["BALANCED", "MINIMIZE_MOVEMENT", "LOCALITY_AWARE"]
ShardRole = Literal["leader", "follower"]

ACTIVE_STEPS: tuple[MoveStep, ...] = ("waiting", "staging", "fencing")
"""Steps of a move that is not over."""


class BrokerCapacity(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a broker can take (seed, "Broker Registration"); None is without limit."""

    max_shards: int | None = None
    """Copies of shards, led or followed."""
    max_connections: int | None = None


class Placement(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Who holds one shard (seed, "Shard Placement").

    The copies are the leader's, if there is one, and the replicas'. A shard that nobody leads has
    copies all the same: its former leader's is among the replicas then.
    """

    shard_id: int
    leader: str = ""
    """Broker id; empty: nobody serves the shard, and `reason` says why."""
    replicas: tuple[str, ...] = ()
    """Brokers with the other copies, the preferred next leader first. Never the leader."""
    in_sync: tuple[str, ...] = ()
    """Copies that hold everything that was acknowledged, sorted. A leader may acknowledge what all
    of these have, and must have one taken out here before it goes on without it."""
    generation: int = 1
    """Grows with every change of leader and whenever a fence ends; a broker obeys the highest."""
    is_fenced: bool = False
    """The leader takes no more writes, and reports `drained` once what it took is everywhere."""
    reason: str = ""
    """Why there is no leader."""

    @property
    def copies(self) -> tuple[str, ...]:
        """All brokers with a copy, the leader first."""
        return (self.leader, *self.replicas) if self.leader else self.replicas


class StreamName(msgspec.Struct, frozen=True, gc=False):
    """A stream, wherever one is named."""

    tenant_id: str
    namespace: str
    stream: str

    @property
    def key(self) -> tuple[str, str, str]:
        """As the catalog's tables have it."""
        return (self.tenant_id, self.namespace, self.stream)


class ShardMove(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A move that was begun: where it goes, how far it is, and how to go back.

    waiting -> staging (the target copies) -> fencing (the leader drains) -> done. A follower's copy
    is not fenced, leadership alone is not staged. Until it is done it can be cancelled: then all is
    as `original` says again, at a higher generation if the shard was fenced.
    """

    move_id: str
    """`{log index}-{number}` of the command that began it."""
    plan_id: str
    stream: StreamName
    stream_id: str
    shard_id: int
    kind: MoveKind
    from_broker: str
    to_broker: str
    reason: MoveReason
    step: MoveStep = "waiting"
    original: Placement | None = None
    """As it was when the move left `waiting`."""
    created_at_ms: int = 0
    step_since_ms: int = 0
    blocked_by: str = ""
    """Why it does not go on, in words; why it failed."""


class PlannedMove(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A move that a plan wants."""

    stream: StreamName
    shard_id: int
    kind: MoveKind
    from_broker: str
    to_broker: str


class Unmet(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Something that a plan could not reach, and what stands in the way."""

    stream: StreamName
    shard_id: int
    why: str


class Quality(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """How good a distribution is."""

    copies_spread: int = 0
    """Copies on the fullest broker less those on the emptiest, of those that may have some."""
    leaders_spread: int = 0
    """The same of leaderships."""
    zone_violations: int = 0
    """Shards with two copies in one zone while another zone has room for one."""


class MovePlan(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Moves that belong together, with what is reached and what is not."""

    plan_id: str = ""
    """Empty until it is carried out: then the log index of the command."""
    base_version: int
    """Version of the catalog that the plan looked at."""
    reason: MoveReason
    strategy: Strategy | None = None
    moves: tuple[PlannedMove, ...] = ()
    blocked_by: tuple[Unmet, ...] = ()
    before: Quality = Quality()
    after: Quality = Quality()
    moves_min: int = 0
    """No plan that balances copies as well has fewer moves of copies."""


class PlacementSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Whether placement goes on by itself. Paused, new streams are still placed, leaders of dead
    brokers still replaced, and nothing else begins."""

    is_paused: bool = False
    reason: str = ""
    since_ms: int = 0


# --- what brokers report --------------------------------------------------------------------------


class HealthStatus(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """How a broker feels (seed, `HealthStatus`)."""

    healthy: bool = True
    message: str = ""
    uptime_seconds: int = 0


class BrokerMetrics(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What a broker measures (seed, `BrokerMetrics`)."""

    connections: int = 0
    publish_per_s: float = 0.0
    deliver_per_s: float = 0.0
    storage_bytes: int = 0
    cache_bytes: int = 0
    cpu_ratio: float = 0.0
    memory_bytes: int = 0


class NamespaceUsage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What a broker counts against the quotas of one namespace, and so of its tenant."""

    tenant_id: str
    namespace: str
    publish_per_s: float = 0.0
    subscribe_connections: int = 0
    storage_bytes: int = 0
    """Of the copies that it has: those on other brokers count there."""
    cache_bytes: int = 0


class ShardStatus(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What a broker says of one copy that it holds (seed, `ShardStatus`)."""

    stream: StreamName
    shard_id: int
    role: ShardRole
    generation: int
    """Of the placement that it goes by."""
    in_sync: tuple[str, ...] = ()
    """Said by the leader: whose copies hold everything acknowledged, itself included."""
    is_drained: bool = False
    """Said by a fenced leader: it takes no writes, and what it took is on every copy in sync."""
    lag: int = 0
    """Said by a follower: messages behind."""
    subscribers: int = 0


class BrokerHealth(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the leader knows of a broker beside the catalog."""

    broker_id: str
    heard_ms_ago: int | None = None
    """None: not since this leader leads."""
    health: HealthStatus = HealthStatus()
    metrics: BrokerMetrics = BrokerMetrics()
    applied_version: int = 0
    """Version of the metadata that the broker has in force."""
    applied_digest: str = ""
    is_wrong: bool = False
    """Its digest was not that of the metadata at that version."""
    lag_versions: int = 0
    subscribers: int = 0
    accepts_shards: bool = False
    why_not: str = ""
    """Why it gets no shards."""
    copies: int = 0
    leads: int = 0
    changes_lately: int = 0
    """How often it went down within the window in which flapping is noticed."""


class BrokersHealth(msgspec.Struct, frozen=True, tag_field="type"):
    """The answer to `GetBrokersHealth`."""

    items: list[BrokerHealth]
    judging_after_ms: int = 0
    """A new leader judges nobody before this time has passed."""


class ReportedUsage(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """The answer to `GetReportedUsage`: sums over the brokers that have said something."""

    brokers: int = 0
    """How many have; 0: nothing is known."""
    publish_per_s: float = 0.0
    subscribe_connections: int = 0
    storage_bytes: int = 0
    cache_bytes: int = 0


class HealthAck(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The answer to `ReportHealth`."""

    term: int
    version: int
    """The newest of the metadata: a broker that has less is behind."""
    interval_ms: int
    """When to report again."""
    status: BrokerStatus
    drain: bool = False
    wants_all_shards: bool = False
    """The leader does not know this broker's shards: the next report must say all of them."""


class AppliedBy(msgspec.Struct, frozen=True, tag_field="type"):
    """The answer to `WaitForBrokers`."""

    version: int
    applied: int
    """How many brokers have it."""
    expected: int
    laggards: list[str]
    """Who has not, sorted; at most 100."""
    is_reached: bool


class ShardMoves(msgspec.Struct, frozen=True, tag_field="type"):
    """A page of moves, newest first."""

    items: list[ShardMove]
    next_page_token: str = ""


class PlacementPlan(msgspec.Struct, frozen=True, tag_field="type"):
    """What placement is at and would do next. The answer to `GetPlacementPlan`, `PlanRebalance`."""

    plan: MovePlan
    settings: PlacementSettings
    unplaced: tuple[Unmet, ...] = ()
    """Shards without a leader or without a placement."""
    under_replicated: int = 0
    """Shards with fewer copies in sync than their stream wants."""


class NewPlacement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where the shards of a stream that has none go."""

    stream: StreamName
    stream_id: str
    placements: tuple[Placement, ...]


class InSyncChange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """That a shard's copies in sync are others now, as its leader says."""

    stream: StreamName
    stream_id: str
    shard_id: int
    generation: int
    in_sync: tuple[str, ...]


class MoveAdvance(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """That a move goes on, or what it waits for."""

    move_id: str
    from_step: MoveStep
    to_step: MoveStep
    """The same as `from_step` where only `blocked_by` changes."""
    blocked_by: str = ""


AnyBrokerAnswer: TypeAlias = (
    BrokersHealth | HealthAck | AppliedBy | ShardMoves | PlacementPlan | ReportedUsage
)
