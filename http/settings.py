"""What the HTTP face can be told: one frozen record, handed down by whoever starts it."""

from __future__ import annotations

from felix.identity.discreet import Discreet
from felix.identity.settings import IdentitySettings
from felix.proto.control_plane import TIMEOUT_S_DEFAULT


class HttpSettings(Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the Falcon app and of the gunicorn that serves it."""

    node_name: str = ""
    """Of the node that is asked, for the audit trail."""
    shown_config: str = ""
    """The configuration of that node in YAML, without secrets."""
    region_id: str = "local"
    api_version: str = "v1"
    timeout_s: float = TIMEOUT_S_DEFAULT
    """How long one request may wait for the control plane before it is answered with 503."""
    changes_limit: int = 1000
    """At most this many items in one answer of a change feed."""
    list_items_max: int = 100_000
    """A list asked for without `page_size` is cut here and carries a `next_page_token`."""
    body_bytes_max: int = 2 << 20
    body_depth_max: int = 32
    """Levels of arrays and objects in a JSON body."""
    watch_wait_ms_max: int = 20_000
    """A long poll that asks for more waits this long."""
    watch_waiters_max: int = 8
    """Long polls at a time in one worker: each holds one of its threads."""
    broker_waiters_max: int = 4
    """Writes at a time in one worker that wait for brokers: so does each of them."""

    is_open: bool = False
    """What the existing Felix service serves without a token, and the cluster's own routes, need
    none."""
    open_feeds: bool = False
    """Change feeds and snapshots need no credential."""
    issuer_changes_need_cluster: bool = False
    idp_private_addresses: bool = False
    """Identity providers may be at private addresses, and at loopback ones without TLS."""
    key_publish_lead_s: int = 3_900
    """A signing key has to be published for so long before it signs, unless that is forced."""
    key_retire_after_s: int = 1_800
    """A signing key stays for so long after it signed last, unless it is revoked."""
    confirm_durable_deletes: bool = True
    """Durable streams are deleted only with `?confirm=` and their name."""
    delete_grace_s: int = 86_400
    """How long the deletion of a durable stream can be taken back."""
    client_requests_per_s: int = 0
    """From one address, by one worker; 0: no bound."""
    identity: IdentitySettings = IdentitySettings()

    bootstrap_bind: str = ""
    """Where bootstrap is served: `host:port`; empty: nowhere."""
    bootstrap_tokens: tuple[str, ...] = ()
    """The present one, and the one before while it is being replaced."""
    cert_file: str = ""
    """TLS on every address; empty: none."""
    key_file: str = ""

    rpc_endpoint: str = ""
    """ZeroMQ endpoint of the node that the workers ask."""
    counts_fd: int = -1
    """Descriptor of the file in memory in which workers count requests; -1: nobody reads it."""
    bind: str = "127.0.0.1:8443"
    """Where gunicorn listens: `host:port`, or `fd://N` for a socket that is open already."""
    workers: int = 2
    threads: int = 16
    """Requests at a time in one worker."""
    socket_timeout_s: float = 10.0
    """A client that is silent for this long within a request is cut off."""
    request_s_max: float = 30.0
    """So is one whose request, head and body, has not come whole after this time."""
    keepalive_s: int = 15
    graceful_timeout_s: int = 5
    """How long a stop waits for requests under way."""
    log_level: str = "warning"
