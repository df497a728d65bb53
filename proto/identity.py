"""Who may do what: records of identity that replicas keep and brokers do not see.

What brokers do see of it, `SigningKey` and `TokenRevocation`, stands in `felix.proto.resources`.
"""

from __future__ import annotations

import msgspec

from felix.proto.resources import Key, SigningKey, TokenRevocation


class IdpIssuer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """An identity provider that a tenant trusts (seed, "Configuring Allowed IdPs")."""

    tenant_id: str
    issuer: str
    """Compared with `iss` byte for byte."""
    audiences: tuple[str, ...]
    discovery_url: str | None = None
    jwks_url: str | None = None
    """With neither, discovery is below the issuer."""
    subject_claim: str = "sub"
    groups_claim: str | None = None
    plain_groups: bool = False
    """Among several issuers, its groups may be named without it: `group:{name}`."""
    updated_at_ms: int = 0

    @property
    def key(self) -> Key:
        """Where it is kept."""
        return (self.tenant_id, self.issuer)


class Rule(msgspec.Struct, frozen=True, gc=False):
    """What a subject may do (contract, section 8.3): a policy without its tenant."""

    subject: str
    object: str
    action: str


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """That a user has a role (contract, section 8.3): a grouping without its tenant."""

    user: str
    """A principal id, a `group:` or another role."""
    role: str


class Policy(msgspec.Struct, frozen=True, gc=False):
    """A rule of a tenant, as it is kept."""

    tenant_id: str
    subject: str
    object: str
    action: str

    @property
    def key(self) -> Key:
        """Where it is kept."""
        return (self.tenant_id, self.subject, self.object, self.action)


class Grouping(msgspec.Struct, frozen=True, gc=False):
    """An assignment of a tenant, as it is kept."""

    tenant_id: str
    user: str
    role: str

    @property
    def key(self) -> Key:
        """Where it is kept."""
        return (self.tenant_id, self.user, self.role)


class SealedKey(msgspec.Struct, frozen=True, gc=False):
    """The private half of a signing key, encrypted; never anywhere in clear but in memory."""

    tenant_id: str
    kid: str
    public_key: str
    """As in `SigningKey`; the encryption vouches for it."""
    kek_id: str
    """Names the key-encryption key: the first 16 hex digits of its SHA-256 fingerprint."""
    sealed: bytes
    """Nonce and ciphertext of AES-256-GCM over the 32-byte seed."""

    @property
    def key(self) -> Key:
        """Where it is kept."""
        return (self.tenant_id, self.kid)


class TenantIdentity(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What there is once in each tenant."""

    tenant_id: str
    changed_index: int = 0
    """Log index of the last change to anything of the tenant's identity."""
    is_bootstrapped: bool = False

    @property
    def key(self) -> Key:
        """Where it is kept."""
        return (self.tenant_id,)


class RefreshGrant(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", gc=False
):
    """What a refresh token stands for; it is used once, and its successor is of the same family."""

    tenant_id: str
    grant_id: str
    """The public half of the token, 32 hex digits."""
    secret_hash: bytes
    """SHA-256 of the secret half."""
    family: str
    """`grant_id` of the first one."""
    principal: str
    issuer: str
    groups: tuple[str, ...] = ()
    """Subjects that the exchange mapped the token's groups to."""
    permissions: tuple[str, ...] = ()
    """What the exchange granted: never more."""
    audience: str = ""
    expires_at_ms: int = 0
    """Of the whole family: a new one does not live longer."""
    is_used: bool = False
    changed_index: int = 0
    """Log index of the command that gave it out or used it up; set when that is applied."""

    @property
    def key(self) -> Key:
        """Where it is kept."""
        return (self.tenant_id, self.grant_id)


class BrokerCredential(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """How a broker proves who it is."""

    broker_id: str
    curve_key: str = ""
    """Its CURVE public key in Z85, 40 characters; empty: not over ZeroMQ."""
    secret_hash: bytes = b""
    """SHA-256 of the password for HTTP Basic; empty: not over HTTP."""
    updated_at_ms: int = 0

    @property
    def key(self) -> Key:
        """Where it is kept."""
        return (self.broker_id,)


class NewKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A signing key that a node made up, for the command in whose stamp it travels."""

    kid: str
    public_key: str
    kek_id: str
    sealed: bytes


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A request that was refused before it became a command."""

    time_ms: int
    operation: str
    code: str
    reason: str = ""
    """What the caller was not told."""
    principal: str = ""
    source: str = ""
    request_id: str = ""
    tenant_id: str = ""
    namespace: str = ""
    object: str = ""
    count: int = 1
    """How many like this there were: of a flood one stands for all."""


class AuditRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One line of the audit trail (seed, "Audit Logging")."""

    sequence: int
    """Contiguous from 1."""
    index: int
    """Of the log entry that brought it."""
    time_ms: int
    operation: str
    """Name of the command, or of the operation that was refused."""
    result: str
    """`success`, or the code of the refusal."""
    principal: str = ""
    tenant_id: str = ""
    namespace: str = ""
    object: str = ""
    """Kind and name of what it was about, as in `stream:orders`."""
    reason: str = ""
    source: str = ""
    request_id: str = ""
    version: int = 0
    """Of the catalog, after it."""
    count: int = 1


class IdentityView(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """The answer to `GetTenantIdentity`: all that is needed to authenticate and authorise."""

    tenant_id: str
    changed_index: int
    is_unchanged: bool = False
    """It is as of `known_index`, and nothing more is said."""
    is_bootstrapped: bool = False
    issuers: tuple[IdpIssuer, ...] = ()
    policies: tuple[Policy, ...] = ()
    groupings: tuple[Grouping, ...] = ()
    keys: tuple[SigningKey, ...] = ()
    sealed_keys: tuple[SealedKey, ...] = ()
    revocations: tuple[TokenRevocation, ...] = ()


class SigningKeyPage(msgspec.Struct, frozen=True, tag_field="type"):
    """The answer to `ListAllSigningKeys`."""

    items: tuple[tuple[SigningKey, SealedKey, int], ...]
    """With the tenant's rotation period in seconds; 0: the default."""
    next_page_token: str = ""


class AuditPage(msgspec.Struct, frozen=True, tag_field="type"):
    """The answer to `GetAudit`."""

    items: tuple[AuditRecord, ...]
    hashes: tuple[bytes, ...]
    """Of each item: BLAKE2b-256 over the hash of the record before it and the record's encoding."""
    first_sequence: int
    """The oldest record that is kept."""
    last_sequence: int
    last_hash: bytes
    next_before: int = 0
    """`before` for the next page; 0: that was the end."""
    previous_hash: bytes = b""
    """Of the record just before the last item, where the chain begins for this page."""


class BrokerCredentials(msgspec.Struct, frozen=True, tag_field="type"):
    """The answer to `ListBrokerCredentials`."""

    items: tuple[BrokerCredential, ...]
    changed_index: int
    """Log index of the last change to any of them."""


class Jwks(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """The answer to `GetIssuerKeys`: an identity provider's key set, as this node has it."""

    document: bytes
    """JSON, RFC 7517."""
    age_ms: int
    is_stale: bool = False
    """The provider could not be reached since it should have been asked again."""


class IssuerProbe(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """The answer to `ProbeIssuer`."""

    found_issuer: str | None = None
    """As the discovery document spells it."""
    jwks_url: str | None = None
    algorithms: tuple[str, ...] = ()
    """Of the keys that can be used."""
    keys: int = 0
    problem: str = ""


class Done(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The answer to a command about identity."""

    changed: bool = True
    """False: it was so already."""
    id: str = ""
    """What the answer is about where the command did not say: a `kid`, an issuer's short id."""
