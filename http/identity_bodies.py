"""What clients may send about identity: the records of request bodies.

An optional member may be absent or null; both mean "not given".
"""

from __future__ import annotations

from typing import Literal

import msgspec

AclPermission = Literal["PUBLISH", "SUBSCRIBE", "CACHE_READ", "CACHE_WRITE", "ADMIN"]
Audience = Literal["felix-broker", "felix-controlplane"]


class ExchangeBody(msgspec.Struct, frozen=True):
    """POST a token exchange: how to narrow what is granted. An empty list leaves nothing."""

    requested: list[str] | None = None
    """Actions."""
    resources: list[str] | None = None
    """Objects, with `*` for whole names."""
    audience: Audience | None = None
    """Who is to take the token; brokers where it is not given."""
    refresh: bool | None = None
    """Also answer with a refresh token."""


class RefreshBody(msgspec.Struct, frozen=True):
    """POST a refresh token, which is used once, for the next one and a Felix token."""

    refresh_token: str
    requested: list[str] | None = None
    resources: list[str] | None = None


class ClaimMappings(msgspec.Struct, frozen=True):
    """Where an identity provider's tokens say who somebody is."""

    subject_claim: str | None = None
    """`sub` where it is not given."""
    groups_claim: str | None = None


class IssuerBody(msgspec.Struct, frozen=True):
    """POST an identity provider that the tenant trusts."""

    issuer: str
    """Compared with `iss` byte for byte."""
    audiences: list[str]
    discovery_url: str | None = None
    jwks_url: str | None = None
    """With neither, discovery is below the issuer."""
    claim_mappings: ClaimMappings | None = None
    plain_groups: bool | None = None
    """Among several issuers, its groups may be named without it: `group:{name}`."""


class PolicyBody(msgspec.Struct, frozen=True):
    """A rule: what a subject may do."""

    subject: str
    object: str
    action: str


class GroupingBody(msgspec.Struct, frozen=True):
    """An assignment: that a user has a role."""

    user: str
    role: str


class AclBody(msgspec.Struct, frozen=True):
    """PUT what a principal may do with a stream or cache, or with all of the namespace (`*`)."""

    principal: str
    resource: str
    permissions: list[AclPermission]


class ActivateBody(msgspec.Struct, frozen=True):
    """POST that a published key is to sign from now on."""

    force: bool | None = None
    """Even if brokers may not know it yet: they refuse its tokens until they have looked again."""


class CredentialBody(msgspec.Struct, frozen=True):
    """PUT how a broker proves who it is."""

    curve_public_key: str | None = None
    """In Z85: 40 characters."""
    password: bool | None = None
    """Make up a password; the answer is the only one that tells it."""


class Identity(msgspec.Struct, frozen=True):
    """Somebody as an identity provider names them."""

    issuer: str
    subject: str


class BootstrapBody(msgspec.Struct, frozen=True):
    """POST the first administrators of a tenant."""

    display_name: str
    idp_issuers: list[IssuerBody]
    initial_admin_principals: list[str | Identity]
    """Principal ids, groups, or who the identity provider says they are."""
    policies: list[PolicyBody] = []
    groupings: list[GroupingBody] = []
