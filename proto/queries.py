"""What asks and changes nothing, and the answers. Names are those of the specification."""

from __future__ import annotations

import base64
from typing import Literal, TypeAlias

import msgspec

from felix.proto.brokers import AnyBrokerAnswer, BrokerStatus, Strategy, StreamName
from felix.proto.identity import (
    AuditPage,
    BrokerCredentials,
    IdentityView,
    IssuerProbe,
    Jwks,
    SigningKeyPage,
)
from felix.proto.resources import Key, Quotas, Resource
from felix.proto.updates import SnapshotChunk, UpdateBatch

PAGE_SIZE_DEFAULT = 1000
PAGE_SIZE_MAX = 10_000

Feed = Literal["tenants", "namespaces", "streams", "caches"]


class Query(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", gc=False
):
    """Base of all queries."""


class Paged(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A listing in the order of names."""

    filter: str = ""
    """Keep the names that contain this; with `*` or `?` it is a whole-name pattern."""
    page_size: int = 0
    """At most this many items; 0 is everything that fits in one answer."""
    page_token: str = ""
    """`next_page_token` of the page before."""


class GetTenant(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Tenant`."""

    tenant_id: str


class ListTenants(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Listing`."""


class GetNamespace(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Namespace`."""

    tenant_id: str
    namespace: str


class ListNamespaces(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Listing`; not_found if the tenant is missing."""

    tenant_id: str


class GetStream(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Stream`."""

    tenant_id: str
    namespace: str
    stream: str


class ListStreams(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Listing`; not_found if the tenant or namespace is missing."""

    tenant_id: str
    namespace: str
    is_deleted: bool = False
    """Those whose deletion can still be taken back, instead of those that live."""


class GetCache(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Cache`."""

    tenant_id: str
    namespace: str
    cache: str


class ListCaches(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Listing`; not_found if the tenant or namespace is missing."""

    tenant_id: str
    namespace: str


class GetUsage(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What a tenant, or one of its namespaces, may have and has. Answer: `Usage`."""

    tenant_id: str
    namespace: str = ""
    """Empty: the whole tenant."""


class GetReportedUsage(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What brokers have reported of a tenant or namespace. The leader answers: `ReportedUsage`."""

    tenant_id: str
    namespace: str = ""


class GetSnapshot(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The whole metadata at one version, in chunks. Answer: `SnapshotChunk`.

    Errors: compacted, future_version.
    """

    version: int = 0
    """0 is the latest."""
    chunk: int = 0


class WatchUpdates(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The updates after `from_version`. Answer: `UpdateBatch`.

    Errors: compacted (too old, or of another epoch), future_version.
    """

    from_version: int
    epoch: int = 0
    """Epoch in which `from_version` was seen; 0 does not check."""
    limit: int = 0
    """At most this many updates; 0 is the server's limit."""
    wait_ms: int = 0
    """With nothing to tell, answer only after the next update or this time."""


class GetFeedSnapshot(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Items of one feed of the HTTP contract (section 5). Answer: `FeedSnapshot`."""

    feed: Feed


class GetFeedChanges(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Changes of one feed of the HTTP contract (section 5). Answer: `FeedChanges`."""

    feed: Feed
    since: int = 0
    """Inclusive."""
    limit: int = 1000


class GetCluster(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The cluster as the answering node sees it; needs no quorum. Answer: `ClusterStatus`."""


class GetBackup(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The whole state machine of the answering node at one moment, as a file in pieces.

    Answer: `BackupPiece`. Errors: not_found (it was begun too long ago, or never), overloaded.
    """

    backup: str = ""
    """Empty begins a new one; else what came with its first piece."""
    piece: int = 0
    """The next one, or the last one once more."""


class GetTenantIdentity(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Whom a tenant trusts and what they may do. Answer: `IdentityView`. Errors: not_found."""

    tenant_id: str
    known_index: int = 0
    """`changed_index` of an earlier answer: if nothing has changed since, the answer is short."""


class ListAllSigningKeys(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The keys of all tenants. Answer: `SigningKeyPage`."""

    page_size: int = 0
    page_token: str = ""


class ListBrokerCredentials(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """How brokers prove who they are. Answer: `BrokerCredentials`."""


class GetAudit(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The audit trail, newest first. Answer: `AuditPage`."""

    tenant_id: str = ""
    """Only of this tenant."""
    principal: str = ""
    operation: str = ""
    result: str = ""
    request_id: str = ""
    from_ms: int = 0
    to_ms: int = 0
    """Up to this time, 0: without end."""
    before: int = 0
    """Only records with a lower sequence; 0: from the newest on."""
    page_size: int = 100


class GetIssuerKeys(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The keys of an identity provider that a tenant trusts, from the answering node's cache.

    Answer: `Jwks`. Errors: not_found (tenant or issuer), idp_unavailable.
    """

    tenant_id: str
    issuer: str
    missing_kid: str = ""
    """A key that a token names and the caller has not found: ask the provider again, unless that
    was done a moment ago."""


class ProbeIssuer(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Ask an identity provider who it says it is, without trusting it. Answer: `IssuerProbe`."""

    issuer: str
    discovery_url: str | None = None
    jwks_url: str | None = None


class GetBroker(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Broker`."""

    broker_id: str


class ListBrokers(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Listing`."""

    status: BrokerStatus | None = None
    region: str = ""
    availability_zone: str = ""


class GetPlacement(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `ShardPlacement`. Errors: not_found (the stream, or it is not placed yet)."""

    tenant_id: str
    namespace: str
    stream: str


class ListPlacements(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Listing` of `ShardPlacement`, in the order of streams."""

    broker_id: str = ""
    """Only streams that have a copy there."""
    is_incomplete: bool = False
    """Only streams with a shard that lacks a leader or copies in sync."""


class ListBridges(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Listing`."""


class GetBridge(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Bridge`."""

    name: str


class ListShardMoves(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `ShardMoves`, newest first. `filter` is not used."""

    stream: StreamName | None = None
    broker_id: str = ""
    """From there or to there."""
    plan_id: str = ""
    move_id: str = ""
    is_under_way: bool = False


class GetPlacementPlan(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What placement does next by itself, and what it cannot. The leader answers.

    Answer: `PlacementPlan`.
    """


class PlanRebalance(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Work out a rebalancing without doing anything. The leader answers. Answer: `PlacementPlan`.

    Errors: not_found (the stream).
    """

    stream: StreamName | None = None
    """None: of all streams."""
    strategy: Strategy = "BALANCED"


class GetBrokersHealth(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What the leader has heard from brokers. Answer: `BrokersHealth`."""

    broker_id: str = ""


class WaitForBrokers(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Wait until brokers have a version of the metadata in force. The leader answers.

    Answer: `AppliedBy`, at the latest when the request's time is over.
    """

    version: int
    brokers: int = 0
    """How many; 0: all that are not down."""


class ListSettings(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Listing` of those that are set."""


class GetSetting(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `ClusterSetting`; not_found also where it is not set."""

    name: str


class ListFeatureFlags(Paged, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `Listing`."""


class GetFeatureFlag(Query, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Answer: `FeatureFlag`."""

    name: str


AnyQuery: TypeAlias = (
    GetTenant
    | ListTenants
    | GetNamespace
    | ListNamespaces
    | GetStream
    | ListStreams
    | GetCache
    | ListCaches
    | GetUsage
    | GetReportedUsage
    | GetSnapshot
    | WatchUpdates
    | GetFeedSnapshot
    | GetFeedChanges
    | GetCluster
    | GetBackup
    | GetTenantIdentity
    | ListAllSigningKeys
    | ListBrokerCredentials
    | GetAudit
    | GetIssuerKeys
    | ProbeIssuer
    | GetBroker
    | ListBrokers
    | GetPlacement
    | ListPlacements
    | ListBridges
    | GetBridge
    | ListShardMoves
    | GetPlacementPlan
    | PlanRebalance
    | GetBrokersHealth
    | WaitForBrokers
    | ListSettings
    | GetSetting
    | ListFeatureFlags
    | GetFeatureFlag
)


LeaderQuery: TypeAlias = (
    GetBrokersHealth | WaitForBrokers | GetPlacementPlan | PlanRebalance | GetReportedUsage
)
"""What only the leader knows."""


class Listing(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """One page."""

    items: list[Resource]
    next_page_token: str = ""
    """Empty on the last page."""


class Usage(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """What the control plane itself counts. The answer to `GetUsage`."""

    tenant_id: str
    namespace: str = ""
    quotas: Quotas | None = None
    namespaces: int = 0
    """Of a tenant."""
    streams: int = 0
    """Those whose deletion can be taken back included."""
    deleted_streams: int = 0
    caches: int = 0
    streams_left: int | None = None
    """How many streams may still be made, under all quotas that hold there; None: any number."""


class FeedChange(msgspec.Struct, frozen=True):
    """One change of a feed, in the contract's words."""

    seq: int
    op: Literal["created", "updated", "deleted"]
    key: Key
    object: Resource | None
    """The object after the change; for `deleted` the last one, where it is still known."""


class FeedSnapshot(msgspec.Struct, frozen=True, tag_field="type"):
    """All objects of a feed."""

    items: list[Resource]
    next_seq: int


class FeedChanges(msgspec.Struct, frozen=True, tag_field="type"):
    """Changes of a feed, oldest first."""

    items: list[FeedChange]
    next_seq: int
    """The next `since`: one more than the last item's `seq` when the answer was cut."""


MemberRole = Literal["leader", "follower", "candidate", "learner", "founder", "outsider", "unknown"]
"""A node that no cluster has taken in yet calls itself `founder` if it may found one, else
`outsider`."""


class MemberStatus(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One member as the answering node sees it."""

    id: str
    name: str
    role: MemberRole
    addresses: dict[str, str]
    """By listener: `peers`, `rpc`, `watch`, `http`, `metrics`."""
    match_index: int | None = None
    """The last log entry known to be on this member's disk; known to the leader only."""
    lag: int | None = None
    """Entries behind the leader's last one; known to the leader only."""
    active: bool | None = None
    """Heard from within the last election timeout; known to the leader only."""
    voter: bool = False
    leaving: bool = False
    """A voter of the old half of a change that is under way."""
    replaces: str | None = None
    """Of a learner: the voter that leaves when it is promoted."""
    level: int = 1
    """The feature level of the build it runs."""


class CommitWindow(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """How long the commits of a stretch of time took, from the proposal to the answer."""

    commits: int = 0
    p50_us: int = 0
    """Half of them took no longer; estimated from buckets, as is `p99_us`."""
    p99_us: int = 0
    max_us: int = 0


class ClusterStatus(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """The cluster as the answering node sees it."""

    cluster_id: str
    node_id: str
    """Of the node that answers."""
    leader_id: str | None
    term: int
    commit_index: int
    applied_index: int
    version: int
    epoch: int
    digest: str
    members: list[MemberStatus]
    change_under_way: bool = False
    """A membership change is not committed yet, or only its first half is."""
    feature_level: int = 1
    """In force in the whole cluster."""
    removed: list[str] = []
    """Identities of the last members that left."""
    alarms: list[str] = []
    """What an operator should look at, in words."""
    commit_window_s: int = 0
    """Length of a window; 0: the node that answers is of a build that does not say."""
    commit_windows: list[CommitWindow] = []
    """Of what was proposed at the answering node while it led, the oldest first; the last one is
    not over."""


class BackupPiece(msgspec.Struct, frozen=True, tag_field="type"):
    """A piece of a backup: the pieces, one after the other, are the file."""

    backup: str
    cluster_id: str
    epoch: int
    version: int
    digest: str
    piece: int
    data: bytes
    is_last: bool


AnyAnswer: TypeAlias = (
    Listing
    | Usage
    | SnapshotChunk
    | UpdateBatch
    | FeedSnapshot
    | FeedChanges
    | ClusterStatus
    | BackupPiece
    | IdentityView
    | SigningKeyPage
    | BrokerCredentials
    | AuditPage
    | Jwks
    | IssuerProbe
    | AnyBrokerAnswer
)


def move_token_after(move_id: str) -> str:
    """Write down where a list of moves goes on: behind a move."""
    return base64.urlsafe_b64encode(move_id.encode()).decode().rstrip("=")


def page_token_after(name: str) -> str:
    """Write down where a list goes on: behind a name, which whoever gets the token can read."""
    return base64.urlsafe_b64encode(b"1" + name.encode()).decode().rstrip("=")
