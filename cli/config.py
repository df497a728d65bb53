"""The configuration: one tree, read once from a file and the environment, checked as a whole.

The environment wins over the file. An unknown key in either is an error, and every problem found
is reported at once. `docs/configuration.md` lists every key.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import yaml

from felix.proto.addresses import is_address

_NAMESPACE: Final = uuid.UUID("7e0f37bb-6c8e-4f4c-9d4f-0b6a6f1c1f5e")
LISTENERS: Final = ("http", "metrics", "peers", "rpc", "watch")

Positive = Annotated[int, msgspec.Meta(gt=0)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
OidcAlgorithm = Literal["ES256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]


class ConfigError(Exception):
    """Everything that is wrong with a configuration."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


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
    there. `existing`: the node waits until a cluster takes it in."""
    members: tuple[MemberConfig, ...] = ()


class ListenConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where this node listens (`host:port`)."""

    http: str = "127.0.0.1:8443"
    metrics: str = "127.0.0.1:8080"
    peers: str = "127.0.0.1:8444"
    rpc: str = "127.0.0.1:9000"
    watch: str = "127.0.0.1:9001"


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP processes."""

    enabled: bool = True
    workers: Positive = 1
    threads: Positive = 16
    """Per worker; a long poll holds one."""


class RaftTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Consensus."""

    heartbeat_ms: Positive = 50
    election_min_ms: Positive = 300
    election_max_ms: Positive = 600
    snapshot_entries: Positive = 20_000
    """A snapshot is taken after so many entries."""
    trail_entries: Positive = 10_000
    """So many entries before a snapshot stay, for followers that were away briefly."""
    promote_after_ms: Positive = 10_000
    """A node that joins becomes a voter once it has kept up for so long."""


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds."""

    in_flight_max: Positive = 4096
    """Requests accepted and not answered; more are refused as `overloaded`."""
    history_updates_max: Positive = 100_000
    """Updates kept for watchers that fell behind."""
    disk_free_min_mb: NotNegative = 256
    """Space on the data directory's disk below which only deletes are taken; 0: no bound."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    """How long an HTTP request waits for the cluster."""
    client_requests_per_s: NotNegative = 500
    """HTTP requests that one client address may send to one worker; 0: no bound."""
    audit_records_max: Positive = 100_000
    """Records of the audit trail that are kept; the same on every member."""


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
    another tenant trusts."""
    token_lifetime_s: Annotated[int, msgspec.Meta(ge=60, le=900)] = 900
    refresh_lifetime_s: NotNegative = 43_200
    """Of a refresh token and all its successors; 0: none are given out."""
    idp_private_addresses: bool = False
    """Identity providers may be at private addresses, and at loopback ones without TLS."""
    identity_age_max_s: Positive = 900
    """A node that has not heard of a leader for so long stops to authenticate."""


class KeysConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that sign tokens, and the key-encryption key (KEK) that protects them."""

    kek_file: str = ""
    """32 bytes in base64, made by `felix-controlplane keygen kek`."""
    kek: str = ""
    """The same, in place of a file; for the environment."""
    previous_kek_files: tuple[str, ...] = ()
    """What they were encrypted with before; they are encrypted anew with the present one."""
    rotation_period_s: Positive = 90 * 86_400
    """For tenants that name none of their own."""
    publish_lead_s: NotNegative = 3_900
    """A key is published for so long before it signs: brokers look once an hour."""
    retire_after_s: NotNegative = 1_800
    """A key that signs no more stays published for so long: at least a token's lifetime."""


class BootstrapConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The listener for a tenant's first administrators."""

    enabled: bool = False
    bind_addr: str = "127.0.0.1:9095"
    token: str = ""
    token_file: str = ""
    previous_token: str = ""
    """Also taken, while the token is being replaced everywhere."""
    previous_token_file: str = ""


class TlsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """TLS for the HTTP, bootstrap and metrics listeners; files are read anew when they change."""

    cert_file: str = ""
    key_file: str = ""


class CurveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """CURVE for the ZeroMQ listeners; files are read anew when they change."""

    secret_key_file: str = ""
    """This node's key pair, made by `felix-controlplane keygen curve`."""
    allow_list_file: str = ""
    """Public keys of nodes, brokers and operators: `role name key` on each line."""


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of one node."""

    name: str
    """This node's name; one of `cluster.members`."""
    data_dir: str
    region_id: str = "local"
    changes_limit: Positive = 1000
    """Changes in one answer of an HTTP feed."""
    change_retention_max_rows: Positive = 10_000
    """Changes that each HTTP feed keeps whole; older ones are compacted."""
    shutdown_drain_timeout_ms: Positive = 5000
    oidc_allowed_algorithms: tuple[OidcAlgorithm, ...] = ("ES256",)
    """By which identity providers may sign."""
    insecure: bool = False
    """Listeners that other machines can reach may do without TLS and CURVE."""
    cluster: ClusterConfig = ClusterConfig()
    listen: ListenConfig = ListenConfig()
    http: HttpConfig = HttpConfig()
    raft: RaftTimings = RaftTimings()
    limits: LimitsConfig = LimitsConfig()
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


CONTRACT_NAMES: Final = {
    "listen.http": "FELIX_CONTROLPLANE_BIND",
    "listen.metrics": "FELIX_CONTROLPLANE_METRICS_BIND",
    "changes_limit": "FELIX_CONTROLPLANE_CHANGES_LIMIT",
    "change_retention_max_rows": "FELIX_CONTROLPLANE_CHANGE_RETENTION_MAX_ROWS",
    "oidc_allowed_algorithms": "FELIX_CONTROLPLANE_OIDC_ALLOWED_ALGORITHMS",
}
"""Variables that the existing Felix service names otherwise than the rule here would."""

CONFIG_PATH_VARIABLE: Final = "FELIX_CONTROLPLANE_CONFIG"
_NOT_CONFIGURATION: Final = {
    CONFIG_PATH_VARIABLE, "FELIX_HTTP_SETTINGS", "FELIX_HTTP_LIFELINE_FD", "FELIX_ADMIN_ENDPOINTS",
}  # fmt: skip
_SERVICE_LINK: Final = re.compile(
    r"FELIX_\w*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT(_\d+_(TCP|UDP)(_\w+)?)?)"
)
"""What Kubernetes puts into the environment for a service called `felix...`."""
_NO_DATABASE: Final = re.compile(r"FELIX_CONTROLPLANE_(STORAGE_BACKEND|POSTGRES_\w+)")


def known_keys(kind: type[msgspec.Struct] = Config, prefix: str = "") -> dict[str, Any]:
    """List every key with its type: `raft.heartbeat_ms` -> int."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        path = f"{prefix}{field.name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found.update(known_keys(field.type, f"{path}."))
        else:
            found[path] = field.type
    return found


def variable_of(key: str) -> str:
    """Name the environment variable of a key."""
    return CONTRACT_NAMES.get(key, "FELIX_" + key.replace(".", "_").upper())


def load(path: Path | None, environment: Mapping[str, str]) -> Config:
    """Read and check a configuration. Raises: ConfigError."""
    problems: list[str] = []
    if path is None and environment.get(CONFIG_PATH_VARIABLE):
        path = Path(environment[CONFIG_PATH_VARIABLE])
    values = _from_file(path, problems) if path else {}
    values.update(_from_environment(environment, problems))
    if problems:
        raise ConfigError(problems)
    try:
        config = msgspec.convert(_nested(values), Config)
    except msgspec.ValidationError as error:
        raise ConfigError([str(error).replace("`$.", "`").replace("`$`", "the top level")]) from (
            error
        )
    problems = [*_timing_problems(config), *_member_problems(config), *_listen_problems(config)]
    if problems:
        raise ConfigError(problems)
    return config


def render(config: Config) -> str:
    """Write a configuration as the file that `load` reads."""
    plain = msgspec.to_builtins(config)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


class _StrictLoader(yaml.SafeLoader):
    """Refuses duplicate keys and aliases: neither is ever meant."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} stands twice")
        return super().construct_mapping(node, deep)


def _from_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, _StrictLoader)  # noqa: S506 - a safe loader, made stricter
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(f"{path}: {error}")
        return {}
    if content is None:
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path}: a mapping is expected at the top level")
        return {}
    flat = _flat(content, known_keys())
    known = list(known_keys())
    problems += [
        f"{path}: unknown key {key!r}{_did_you_mean(key, known)}"
        for key in flat
        if key not in known
    ]
    return flat


def _flat(content: dict[Any, Any], known: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in known:
            flat.update(_flat(value, known, f"{key}."))
        elif value is not None:
            flat[key] = value
    return flat


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    by_variable = {variable_of(key): (key, kind) for key, kind in known_keys().items()}
    values: dict[str, Any] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith("FELIX_") or variable in _NOT_CONFIGURATION:
            continue
        if variable in by_variable:
            key, kind = by_variable[variable]
            try:
                values[key] = _parse(text, kind)
            except msgspec.MsgspecError as error:
                problems.append(f"{variable}: {error}")
        elif _NO_DATABASE.fullmatch(variable):
            problems.append(f"{variable}: metadata lives in the replicated log, not in a database")
        elif not _SERVICE_LINK.fullmatch(variable):
            hint = _did_you_mean(variable, list(by_variable))
            problems.append(f"unknown environment variable {variable}{hint}")
    return values


def _parse(text: str, kind: Any) -> Any:
    if kind == tuple[MemberConfig, ...]:
        return msgspec.json.decode(text)
    return msgspec.convert(text, kind, strict=False)


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]}?" if close else ""


def _timing_problems(config: Config) -> list[str]:
    raft = config.raft
    problems = []
    if raft.heartbeat_ms < 10:
        problems.append("raft.heartbeat_ms: below 10 ms the network would be all heartbeats")
    if raft.election_min_ms < 4 * raft.heartbeat_ms:
        problems.append("raft.election_min_ms: at least 4 heartbeats, or a hiccup deposes leaders")
    if raft.election_max_ms < 1.5 * raft.election_min_ms:
        problems.append("raft.election_max_ms: at least 1.5 times the shortest, or votes split")
    return problems


def _member_problems(config: Config) -> list[str]:
    members = config.cluster.members
    names = [one.name for one in members]
    problems = []
    if config.cluster.bootstrap == "new" and len(members) not in {1, 3, 5}:
        problems.append(f"cluster.members: 1, 3 or 5 members found a cluster, not {len(members)}")
    if len(set(names)) != len(names):
        problems.append("cluster.members: two members have the same name")
    for listener in ("peers", "rpc"):
        addresses = [getattr(one, listener) for one in members]
        if len(set(addresses)) != len(addresses):
            problems.append(f"cluster.members: two members have the same {listener} address")
    problems += [
        f"cluster.members: {one.name}: {listener}: {getattr(one, listener)!r} is not host:port"
        for one in members
        for listener in LISTENERS
        if not is_address(getattr(one, listener))
    ]
    if config.name not in names:
        problems.append(f"name: {config.name!r} is not among cluster.members ({', '.join(names)})")
    return problems


def _listen_problems(config: Config) -> list[str]:
    problems = []
    for listener in LISTENERS:
        address = getattr(config.listen, listener)
        host, _, port = address.rpartition(":")
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            problems.append(f"listen.{listener}: {address!r} is not host:port")
        elif not _is_loopback(host):
            problems.append(
                f"listen.{listener}: {address!r} can be reached from other machines, and nothing "
                "is authenticated yet: bind a loopback address"
            )
    return problems


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
