"""What changes the catalog. Names are those of the specification's admin API.

A member that is None in an `Update…` command is not given and stays as it is. Patches replace a
member whole: `retention` is never merged.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from felix.proto.resources import (
    AckPolicy,
    Delivery,
    Durability,
    Encryption,
    Quotas,
    RetentionPolicy,
    StreamSpec,
)


class Command(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", gc=False
):
    """Base of all commands."""


class Conditional(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A command on an existing object that may carry a precondition."""

    expected_version: int | None = None
    """Refuse with `precondition_failed` unless the object's `version` is this."""


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
    """Create a stream. Errors: not_found (tenant or namespace), conflict."""

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
    """Delete a stream. Errors: not_found, precondition_failed."""

    tenant_id: str
    namespace: str
    stream: str


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


class SetFeatureLevel(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Let the cluster use what builds of this level can do; there is no way back.

    Errors: feature_level_too_low.
    """

    level: int


AnyCommand: TypeAlias = (
    CreateTenant
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
