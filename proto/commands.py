"""What changes the catalog. Names are those of the specification's admin API.

A member that is None in an `Update…` command is not given and stays as it is. Patches replace a
member whole: `retention` is never merged.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from felix.proto.brokers import BrokerCapacity
from felix.proto.command import Command, Conditional
from felix.proto.identity import Assignment, NewKey, RefreshGrant, Refusal, Rule
from felix.proto.placement_commands import DeleteBridge, PlacementCommand, PutBridge
from felix.proto.resources import (
    AckPolicy,
    Delivery,
    Durability,
    Encryption,
    Quotas,
    RetentionPolicy,
    StreamSpec,
)
from felix.proto.setting_commands import SettingCommand


class CreateTenant(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Create a tenant. Errors: already_exists."""

    tenant_id: str
    display_name: str = ""
    description: str = ""
    quotas: Quotas | None = None
    encryption: Encryption | None = None


class UpdateTenant(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Change a tenant. Errors: not_found, precondition_failed."""

    tenant_id: str
    display_name: str | None = None
    description: str | None = None
    quotas: Quotas | None = None
    encryption: Encryption | None = None


class DeleteTenant(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Delete a tenant and everything in it, as one batch of updates, children first."""

    tenant_id: str


class CreateNamespace(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Create a namespace. Errors: not_found (tenant), already_exists."""

    tenant_id: str
    namespace: str
    display_name: str = ""
    description: str = ""
    quotas: Quotas | None = None


class UpdateNamespace(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Change a namespace. Errors: not_found, precondition_failed."""

    tenant_id: str
    namespace: str
    display_name: str | None = None
    description: str | None = None
    quotas: Quotas | None = None


class DeleteNamespace(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Delete a namespace and everything in it, as one batch of updates, children first."""

    tenant_id: str
    namespace: str


class CreateStream(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Create a stream. Errors: not_found (tenant or namespace), conflict, quota_exceeded."""

    tenant_id: str
    namespace: str
    stream: str
    spec: StreamSpec = StreamSpec()


class UpdateStream(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Change a stream. Errors: not_found, precondition_failed.

    A change of `durability` yields a DELETE and a CREATE, because a broker cannot change it on a
    stream it knows (contract, section 11.4).
    """

    tenant_id: str
    namespace: str
    stream: str
    retention: RetentionPolicy | None = None
    durability: Durability | None = None
    delivery: Delivery | None = None
    ack_policy: AckPolicy | None = None


class DeleteStream(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Delete a stream (seed, `DeleteStream`).

    With a grace it serves nobody any more but can be had back until that is over; its name stays
    taken so long. Answer: `Deleted`.
    Errors: not_found, precondition_failed; conflict with `details.reason`: `subscribers` (it has
    some, `details.subscribers`), `durable` (`refuse_durable`).
    """

    tenant_id: str
    namespace: str
    stream: str
    force: bool = False
    """No checks and no grace."""
    refuse_durable: bool = False
    """Nobody has confirmed that durable data may go."""
    grace_ms: int = 0
    """For durable ones; 0: it is gone at once."""


class CreateCache(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Create a cache. Errors: not_found (tenant or namespace), conflict."""

    tenant_id: str
    namespace: str
    cache: str
    display_name: str = ""


class UpdateCache(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Change a cache. Errors: not_found, precondition_failed."""

    tenant_id: str
    namespace: str
    cache: str
    display_name: str | None = None


class DeleteCache(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Delete a cache. Errors: not_found, precondition_failed."""

    tenant_id: str
    namespace: str
    cache: str


# --- identity -----------------------------------------------------------------------------------


class Delegated(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A command on a tenant's rules that is held against the caller's own scopes at apply."""

    scopes: tuple[str, ...] | None = None
    """Objects on which the caller has the action that this needs; None: everywhere."""


class NewIssuer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """An identity provider to be trusted; members as in `identity.IdpIssuer`."""

    issuer: str
    audiences: tuple[str, ...]
    discovery_url: str | None = None
    jwks_url: str | None = None
    subject_claim: str = "sub"
    groups_claim: str | None = None
    plain_groups: bool = False


class BootstrapTenant(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Give a tenant its first administrators, once; create it if it is not there.

    Answer: `Done` with the `kid` that signs. Errors: already_initialized.
    """

    tenant_id: str
    display_name: str
    issuers: tuple[NewIssuer, ...] = ()
    admins: tuple[str, ...] = ()
    policies: tuple[Rule, ...] = ()
    groupings: tuple[Assignment, ...] = ()


class PutIssuer(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Trust an identity provider, or change how. Answer: `Done` with its short id.

    Errors: not_found (tenant), forbidden (`may_change` is needed and not given), too_large.
    """

    tenant_id: str
    issuer: NewIssuer
    may_change: bool = True
    """The caller may change one that is there, and add one that another tenant trusts."""


class DeleteIssuer(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Trust an identity provider no longer; what it vouched for is revoked. Answer: `Done`.

    Errors: not_found (tenant).
    """

    tenant_id: str
    issuer: str


class ChangePolicies(Delegated, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Add and remove rules, all or none. Answer: `Done`.

    Errors: not_found (tenant), forbidden (outside `scopes`), last_admin, too_large.
    """

    tenant_id: str
    add: tuple[Rule, ...] = ()
    remove: tuple[Rule, ...] = ()


class ChangeGroupings(Delegated, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Add and remove assignments, all or none. Answer: `Done`.

    Errors: not_found (tenant), forbidden (the role is none, or reaches beyond `scopes` through any
    chain of roles), last_admin, too_large.
    """

    tenant_id: str
    add: tuple[Assignment, ...] = ()
    remove: tuple[Assignment, ...] = ()


class StageSigningKey(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Publish a new key that does not sign yet. Answer: `Done` with its `kid`.

    Errors: not_found (tenant), key_state (one is staged already).
    """

    tenant_id: str


class ActivateSigningKey(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Sign with a published key from now on; the one before is retiring. Answer: `Done`.

    Errors: not_found, key_state (not published, or not yet for `lead_ms`).
    """

    tenant_id: str
    kid: str
    lead_ms: int = 0
    """Refuse one that was published more recently; 0: never mind."""


class RetireSigningKey(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Take a key out of use, and its private half out of the world. Answer: `Done` with the `kid`
    that signs now.

    Errors: not_found, key_state (it is active, or the only one, or retiring for less than
    `after_ms`, and this is no revocation).
    """

    tenant_id: str
    kid: str
    after_ms: int = 0
    revoke: bool = False
    """Whatever its state, at once: tokens signed with it are void. An active key, or the only one,
    is replaced by the published one, or else by a new one."""


class RewrapSigningKey(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Keep a private key encrypted with another key-encryption key. Answer: `Done`.

    Errors: not_found.
    """

    tenant_id: str
    kid: str
    kek_id: str
    sealed: bytes


class GrantRefresh(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Give out a refresh token. Answer: `Done`.

    Errors: not_found (tenant or issuer), conflict (another has its id).
    """

    grant: RefreshGrant


class UseRefresh(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Trade a refresh token for its successor. Answer: `RefreshGrant` of the successor, also when
    the very same trade comes again before the successor was used.

    Errors: unauthorized (unknown, expired, revoked; used before, which ends its whole family),
    conflict (there is one with `next_id`).
    """

    tenant_id: str
    grant_id: str
    secret_hash: bytes
    next_id: str
    next_secret_hash: bytes


class RevokeTokens(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Void every token of a principal, or of everyone (`*`), that was issued up to now. Answer:
    `Done`. Errors: not_found (tenant), unprocessable (a group: tokens do not say all of theirs).
    """

    tenant_id: str
    principal: str


class PutBrokerCredential(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Let a broker in by a CURVE key, a password, or both. Answer: `Done`. Errors: conflict (the
    key is another broker's).
    """

    broker_id: str
    curve_key: str = ""
    secret_hash: bytes = b""


class DeleteBrokerCredential(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Let a broker in no longer. Answer: `Done`. Errors: not_found."""

    broker_id: str


class RecordRefusals(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Put refused requests into the audit trail; nodes do. Answer: `Done`."""

    node: str
    refusals: tuple[Refusal, ...]
    dropped: int = 0
    """How many there was no room for since the last time."""


class SetFeatureLevel(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Let the cluster use what builds of this level can do; there is no way back.

    Errors: feature_level_too_low.
    """

    level: int


# --- manifests ----------------------------------------------------------------------------------


class DescribeBroker(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What a document says of a broker that has registered; None stays. Only in `ApplyManifests`.

    Errors: not_found, conflict (`details.reason`: `read_only`, where it has another address).
    """

    broker_id: str
    address: str = ""
    """Compared: only the broker itself says where it is."""
    region: str | None = None
    availability_zone: str | None = None
    capacity: BrokerCapacity | None = None
    metadata: dict[str, str] | None = None
    drain: bool | None = None


Wanted: TypeAlias = (
    CreateTenant
    | CreateNamespace
    | CreateStream
    | CreateCache
    | PutBridge
    | DescribeBroker
    | DeleteTenant
    | DeleteNamespace
    | DeleteStream
    | DeleteCache
    | DeleteBridge
)
Right = Literal["create", "update", "quotas", "delete"]


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One document of a set: how an object is to be, or that it is not to be."""

    wanted: Wanted
    """To be made if it is not there. One that is there is changed where it is not so already."""
    given: tuple[str, ...] = ()
    """Members of `wanted`, or of its `spec`, that the document says: the others stay."""
    rights: tuple[Right, ...] = ()
    """What the caller may do about this object; `quotas`: set other ones."""


class ApplyManifests(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Bring some objects to how documents want them, in their order: all, or none at all.

    Answer: `ManifestsApplied`. Errors: those of the commands that each document comes to, with
    `details.document`, its place; forbidden (`rights`); conflict with `details.reason`:
    `read_only` (a member that no command changes).
    """

    documents: tuple[Manifest, ...]


AnyCommand: TypeAlias = (
    PlacementCommand
    | SettingCommand
    | CreateTenant
    | UpdateTenant
    | DeleteTenant
    | CreateNamespace
    | UpdateNamespace
    | DeleteNamespace
    | CreateStream
    | UpdateStream
    | DeleteStream
    | CreateCache
    | UpdateCache
    | DeleteCache
    | SetFeatureLevel
    | BootstrapTenant
    | PutIssuer
    | DeleteIssuer
    | ChangePolicies
    | ChangeGroupings
    | StageSigningKey
    | ActivateSigningKey
    | RetireSigningKey
    | RewrapSigningKey
    | GrantRefresh
    | UseRefresh
    | RevokeTokens
    | PutBrokerCredential
    | DeleteBrokerCredential
    | RecordRefusals
    | ApplyManifests
)


class Stamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who asked and when: put on by the node that accepts a command, replicated with it.

    `apply` takes time and identity from here and from nowhere else.
    """

    time_ms: int
    """Unix milliseconds of the accepting node."""
    request_id: str = ""
    principal: str = ""
    source: str = ""
    """Address of the caller as the accepting face saw it."""
    idempotency_key: str | None = None
    new_key: NewKey | None = None
    """For the commands that may need one; made by the leader, so that a repeated command stays
    the same command."""
    wants_acks: bool = False
    """Whoever asked waits for brokers: they say at once that they have it."""
    gone_epoch: int = 0
    """Of `RegisterBroker`: the epoch of the id's last holder, not heard from for a whole detection
    window of the leader's."""
    new_keys: tuple[NewKey, ...] = ()
    """Of `ApplyManifests`: one for each tenant that it may have to make, in their order."""


class Proposal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The content of one log entry."""

    level: int
    """The feature level that a build must have to apply it: `levels.level_of(command)`. It comes
    first, so that it can be read where the rest cannot."""
    stamp: Stamp
    command: AnyCommand


class Deleted(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The answer to a delete."""

    version: int
    """The version of the object's own deletion: the last of the cascade."""
    count: int = 1
    """How many objects went, with everything inside."""


class FeatureLevel(msgspec.Struct, frozen=True, tag_field="type"):
    """The answer to `SetFeatureLevel`."""

    level: int
    """In force now."""
