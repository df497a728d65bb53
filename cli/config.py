"""The configuration: one tree of frozen records, handed down in slices.

`config_loading` reads it, `config_checks` says what is wrong with it, `docs/configuration.md` lists
every key.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Final, Literal

import msgspec

from felix.identity.discreet import Discreet

_NAMESPACE: Final = uuid.UUID("7e0f37bb-6c8e-4f4c-9d4f-0b6a6f1c1f5e")
LISTENERS: Final = ("http", "metrics", "peers", "rpc", "watch")

Positive = Annotated[int, msgspec.Meta(gt=0)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
OidcAlgorithm = Literal["ES256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]


class MemberConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One member of the cluster: its name and the addresses others reach it at (`host:port`)."""

    name: str
    peers: str
    rpc: str
    watch: str
    http: str
    metrics: str


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who the cluster is."""

    name: str = "felix"
    """With the members' names the cluster's identity: clusters that could meet need two."""
    bootstrap: Literal["new", "existing"] = "existing"
    """`new`: with an empty data directory the members found a new cluster, once all of them are
    there; where there is one already, this does nothing. `existing`: the node waits until a cluster
    takes it in."""
    members: tuple[MemberConfig, ...] = ()
    """The node itself, and members that it can ask (of a new cluster: all 1, 3 or 5), each with
    `name` and the advertised `host:port` of `peers`, `rpc`, `watch`, `http` and `metrics`; JSON in
    the variable."""


class ListenConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where this node listens (`host:port`)."""

    http: str = "127.0.0.1:8443"
    """REST, feeds, `/docs`."""
    metrics: str = "127.0.0.1:8080"
    """`/metrics`, `/live`, `/ready`."""
    peers: str = "127.0.0.1:8444"
    """The other members."""
    rpc: str = "127.0.0.1:9000"
    """The native API."""
    watch: str = "127.0.0.1:9001"
    """The stream of updates."""


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP processes."""

    enabled: bool = True
    """Whether this node starts the HTTP processes."""
    workers: Positive = 1
    """HTTP processes."""
    threads: Positive = 16
    """Threads of each; a long poll holds one."""
    broker_waiters_max: Positive = 4
    """Writes with `?wait_brokers=` that may wait in one process; each holds a thread, so it is
    below `http.threads`. One more is refused as `overloaded` (429) and is not made."""


class RaftTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Consensus."""

    heartbeat_ms: Positive = 50
    """How often a leader is heard; at least 10."""
    election_min_ms: Positive = 300
    """Shortest silence before an election; at least 4 heartbeats."""
    election_max_ms: Positive = 600
    """Longest; at least 1.5 times the shortest."""
    snapshot_entries: Positive = 20_000
    """A snapshot is taken after so many entries."""
    trail_entries: Positive = 10_000
    """Entries kept before a snapshot at least, for followers that were away briefly."""
    promote_after_ms: Positive = 10_000
    """A node that joins becomes a voter once it has kept up for so long."""


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds."""

    in_flight_max: Positive = 4096
    """Requests accepted and not answered; more are refused as `overloaded`."""
    history_updates_max: Positive = 100_000
    """Updates kept for watchers that fell behind."""
    disk_free_min_mb: NotNegative = 256
    """Space on the disk of `data_dir`, in MB, below which the leader takes nothing but deletes
    (`disk_full`) until there is 1.5 times as much; 0: no bound."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    """How long an HTTP request waits for the cluster; at most 60."""
    client_requests_per_s: NotNegative = 500
    """HTTP requests that one client address (IPv6: one /64) may send to one worker, twice as many
    at once; more are refused as `overloaded`; 0: no bound."""
    audit_records_max: Positive = 100_000
    """Records of the audit trail that are kept; the same on every member."""
    broker_waiters_max: Positive = 256
    """Requests from all nodes, over HTTP or RPC, that may wait at the leader until brokers have a
    version. One more is refused as `overloaded`; over HTTP its write is done, and
    `X-Felix-Brokers-Applied` is `unknown`."""


class StreamsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How streams are deleted over HTTP."""

    confirm_durable_deletes: bool = True
    """A durable stream is deleted only with `?confirm=` and its name, or `?force=true`."""
    delete_grace_s: NotNegative = 86_400
    """So long the deletion of a durable stream can be taken back; 0: it is gone at once."""


class BrokersConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How brokers are watched."""

    heartbeat_interval_ms: Annotated[int, msgspec.Meta(ge=100, le=600_000)] = 5000
    """How often a broker reports; at least 100. The leader tells brokers; the same on every
    member."""
    missed_heartbeats: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    """A broker that is silent for so many intervals is down, and others lead its shards. A new
    leader listens for as long before it finds anybody down."""
    rebuild_after_s: NotNegative = 300
    """A broker that has been down for so long is not waited for: its copies are made elsewhere. The
    cluster's setting `placement.rebuild_after` wins."""
    moves_per_broker: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    """Shards that may be on their way from a broker or to it at the same time. The cluster's
    setting `placement.moves_per_broker` wins."""


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who is let in over HTTP."""

    mode: Literal["required", "open"] = "required"
    """`open`: what the existing Felix service serves without a token, and the cluster's own routes,
    are served to everyone."""
    open_feeds: bool = False
    """Change feeds and snapshots need no credential."""
    accept_broker_tokens: bool = True
    """This API also takes tokens whose audience is `felix-broker`."""
    issuer_changes: Literal["tenant", "cluster"] = "tenant"
    """Whose right it is to change or delete a trusted identity provider, and to trust one that
    another tenant trusts: `tenant` or `cluster`."""
    token_lifetime_s: Annotated[int, msgspec.Meta(ge=60, le=900)] = 900
    """Of a Felix token, 60 to 900; never beyond the upstream token."""
    refresh_lifetime_s: NotNegative = 43_200
    """Of a refresh token and all its successors; 0: none are given out."""
    idp_private_addresses: bool = False
    """Identity providers may be at private addresses, and at loopback ones without TLS."""
    identity_age_max_s: Positive = 900
    """A node that has not heard of a leader for so long stops to authenticate."""


class KeysConfig(Discreet, frozen=True, kw_only=True):
    """Keys that sign tokens, and the key-encryption key (KEK) that protects them."""

    kek_file: str = ""
    """The key-encryption key: 32 bytes in base64. This or `keys.kek` is needed to run."""
    kek: str = ""
    """The same, in place of a file; for the environment."""
    previous_kek_files: tuple[str, ...] = ()
    """What keys were encrypted with before; they are encrypted anew with the present one."""
    rotation_period_s: Positive = 90 * 86_400
    """How long a key signs, in tenants that name no period of their own."""
    publish_lead_s: NotNegative = 3_900
    """A key is published for so long before it signs, at least 3900: brokers look once an hour, and
    what they see may be five minutes old. With `insecure: true` it may be less."""
    retire_after_s: NotNegative = 1_800
    """A key that signs no more stays published for so long: at least `auth.token_lifetime_s` and
    `auth.identity_age_max_s` together, for which a node may not have heard that it is to sign no
    more."""


class BootstrapConfig(Discreet, frozen=True, kw_only=True):
    """The listener for a tenant's first administrators."""

    enabled: bool = False
    """Whether the listener for a tenant's first administrators is there."""
    bind_addr: str = "127.0.0.1:9095"
    """Where it is."""
    token: str = ""
    """What its callers know: at least 16 printable ASCII characters, no blanks."""
    token_file: str = ""
    """The file with it; one of the two is needed when enabled."""
    previous_token: str = ""
    """Also taken, while the token is being replaced everywhere."""
    previous_token_file: str = ""
    """The file with it."""


class TlsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """TLS for the HTTP, bootstrap and metrics listeners; files are read anew when they change."""

    cert_file: str = ""
    """Certificate and its chain, in PEM, for the HTTP, bootstrap and metrics listeners."""
    key_file: str = ""
    """Its key, in PEM, without a password."""


class CurveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """CURVE for the ZeroMQ listeners; the allow-list is read anew when it changes."""

    secret_key_file: str = ""
    """This node's CURVE key pair, made by `felix-controlplane keygen curve`."""
    allow_list_file: str = ""
    """Public keys of nodes, brokers and operators: `role name key` on each line."""


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug`, `info`, `warning` or `error`."""
    format: Literal["console", "json"] = "console"
    """`console` or `json`."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of one node."""

    name: str
    """This node's name; one of `cluster.members`."""
    data_dir: str
    """The folder of this node's journal and snapshots."""
    region_id: str = "local"
    """The one region this control plane speaks for."""
    changes_limit: Positive = 1000
    """Changes in one answer of an HTTP feed."""
    change_retention_max_rows: Positive = 10_000
    """Changes that each HTTP feed keeps; older ones are compacted."""
    shutdown_drain_timeout_ms: Positive = 5000
    """How long requests under way may take to finish when the node stops."""
    oidc_allowed_algorithms: tuple[OidcAlgorithm, ...] = ("ES256",)
    """By which identity providers may sign: of `ES256`, `RS256`, `RS384`, `RS512`, `PS256`,
    `PS384`, `PS512`, `EdDSA`; in any case."""
    insecure: bool = False
    """Listeners that other machines can reach may do without TLS and CURVE, and keys may sign
    before every broker has seen them."""
    cluster: ClusterConfig = ClusterConfig()
    listen: ListenConfig = ListenConfig()
    http: HttpConfig = HttpConfig()
    raft: RaftTimings = RaftTimings()
    limits: LimitsConfig = LimitsConfig()
    streams: StreamsConfig = StreamsConfig()
    brokers: BrokersConfig = BrokersConfig()
    auth: AuthConfig = AuthConfig()
    keys: KeysConfig = KeysConfig()
    bootstrap: BootstrapConfig = BootstrapConfig()
    tls: TlsConfig = TlsConfig()
    curve: CurveConfig = CurveConfig()
    log: LogConfig = LogConfig()

    @property
    def new_cluster_id(self) -> str:
        """The identity of the cluster that these members found: the same on each of them.

        Made of names alone: an address may change.
        """
        names = sorted(one.name for one in self.cluster.members)
        return uuid.uuid5(_NAMESPACE, "\n".join([self.cluster.name, *names])).hex

    @property
    def self_as_member(self) -> MemberConfig:
        """This node among the members."""
        return next(one for one in self.cluster.members if one.name == self.name)
