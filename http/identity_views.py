"""What clients get about identity: the records of answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from felix.http.identity_bodies import AclPermission
from felix.http.times import rfc3339
from felix.proto.identity import BrokerCredential, IdpIssuer, IssuerProbe, Policy
from felix.proto.resources import KeyState, SigningKey


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A Felix token."""

    felix_token: str
    expires_in: int
    """Seconds."""
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the word of RFC 6749, no secret
    refresh_token: str | msgspec.UnsetType = msgspec.UNSET
    """Where one was asked for."""
    refresh_expires_in: int | msgspec.UnsetType = msgspec.UNSET


class JwkView(msgspec.Struct, frozen=True, kw_only=True):
    """A public key (RFC 7517, RFC 8037): these members and no other, for brokers read no more."""

    kty: Literal["OKP"] = "OKP"
    kid: str
    alg: Literal["EdDSA"] = "EdDSA"
    use: Literal["sig"] = "sig"
    crv: Literal["Ed25519"] = "Ed25519"
    x: str


class JwksView(msgspec.Struct, frozen=True):
    """The keys whose signatures are to be taken: the one that signs comes first."""

    keys: list[JwkView]


class ClaimMappingsView(msgspec.Struct, frozen=True):
    """Where an identity provider's tokens say who somebody is."""

    subject_claim: str
    groups_claim: str | None


class IssuerView(msgspec.Struct, frozen=True, kw_only=True):
    """An identity provider that a tenant trusts."""

    id: str
    """Short: the first 12 hex digits of the SHA-256 of the issuer."""
    issuer: str
    audiences: list[str]
    discovery_url: str | None
    jwks_url: str | None
    claim_mappings: ClaimMappingsView
    plain_groups: bool
    updated_at: str


class IssuerPage(msgspec.Struct, frozen=True):
    """All identity providers of a tenant, in the order of issuers."""

    items: list[IssuerView]


class IssuerProbeView(msgspec.Struct, frozen=True, kw_only=True):
    """What an identity provider says of itself; nothing was changed."""

    issuer: str
    """As it was given."""
    found_issuer: str | None
    """As the discovery document spells it; null where there was none to read."""
    matches: bool
    """Both are the same, byte for byte; true where the keys are at a given address."""
    jwks_url: str | None
    algorithms: list[str]
    keys: int
    """How many can be used."""
    problem: str


class PolicyView(msgspec.Struct, frozen=True):
    """A rule: what a subject may do."""

    subject: str
    object: str
    action: str


class GroupingView(msgspec.Struct, frozen=True):
    """An assignment: that a user has a role."""

    user: str
    role: str


class MayView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether somebody may do something."""

    allowed: bool
    principal: str
    """Empty where only groups were asked about."""
    action: str
    object: str


class ExplanationView(msgspec.Struct, frozen=True, kw_only=True):
    """Why somebody may do something, or not."""

    allowed: bool
    principal: str
    action: str
    object: str
    permission: str | None
    """What allows it."""
    implied_by: str | None
    """What the rule says, where the permission only follows from it."""
    rule: PolicyView | None
    chain: list[str]
    """From whom was asked about, through roles, to the subject of the rule."""
    nearest: list[PolicyView]
    """If it is not allowed: rules with the same action on other objects."""


class AclView(msgspec.Struct, frozen=True, kw_only=True):
    """What a principal may do with a stream or cache, or with all of the namespace (`*`)."""

    tenant_id: str
    namespace: str
    resource: str
    principal: str
    permissions: list[AclPermission]


class AclPage(msgspec.Struct, frozen=True):
    """The rules of a namespace, as far as they can be said as ACLs."""

    items: list[AclView]


class SigningKeyStateView(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signs, will sign, or has signed a tenant's tokens: its public half."""

    kid: str
    alg: Literal["EdDSA"] = "EdDSA"
    state: KeyState
    state_since: str
    public_key: str


class SigningKeyStates(msgspec.Struct, frozen=True):
    """The keys of a tenant in the order of the JWKS."""

    items: list[SigningKeyStateView]


class KeyChange(msgspec.Struct, frozen=True):
    """The key that a change was about."""

    kid: str
    state: KeyState


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """How a broker proves who it is: never the secret itself."""

    broker_id: str
    curve_public_key: str | None
    has_password: bool
    updated_at: str


class CredentialPage(msgspec.Struct, frozen=True):
    """All credentials in the order of brokers."""

    items: list[CredentialView]


class NewCredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that was just given."""

    broker_id: str
    curve_public_key: str | None
    password: str | None
    """Shown this once."""


class BootstrapView(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant that has its first administrators."""

    tenant_id: str
    kid: str
    jwks_url: str
    status: Literal["initialized"] = "initialized"


def jwks_view(keys: tuple[SigningKey, ...]) -> JwksView:
    """Render what brokers verify tokens with, in the order given."""
    return JwksView([JwkView(kid=key.kid, x=key.public_key) for key in keys])


def key_view(key: SigningKey) -> SigningKeyStateView:
    """Render a signing key."""
    return SigningKeyStateView(
        kid=key.kid,
        state=key.state,
        state_since=rfc3339(key.state_since_ms),
        public_key=key.public_key,
    )


def issuer_view(issuer: IdpIssuer, short_id: str) -> IssuerView:
    """Render an identity provider."""
    return IssuerView(
        id=short_id,
        issuer=issuer.issuer,
        audiences=list(issuer.audiences),
        discovery_url=issuer.discovery_url,
        jwks_url=issuer.jwks_url,
        claim_mappings=ClaimMappingsView(issuer.subject_claim, issuer.groups_claim),
        plain_groups=issuer.plain_groups,
        updated_at=rfc3339(issuer.updated_at_ms),
    )


def probe_view(issuer: str, jwks_url: str | None, probe: IssuerProbe) -> IssuerProbeView:
    """Render what was found out; a given key address leaves no second spelling to compare."""
    given_keys = jwks_url is not None and probe.found_issuer is None
    return IssuerProbeView(
        issuer=issuer,
        found_issuer=probe.found_issuer,
        matches=given_keys or probe.found_issuer == issuer,
        jwks_url=probe.jwks_url,
        algorithms=list(probe.algorithms),
        keys=probe.keys,
        problem=probe.problem,
    )


def policy_view(policy: Policy) -> PolicyView:
    """Render a rule."""
    return PolicyView(policy.subject, policy.object, policy.action)


def credential_view(credential: BrokerCredential) -> CredentialView:
    """Render a credential without its secret."""
    return CredentialView(
        broker_id=credential.broker_id,
        curve_public_key=credential.curve_key or None,
        has_password=bool(credential.secret_hash),
        updated_at=rfc3339(credential.updated_at_ms),
    )
