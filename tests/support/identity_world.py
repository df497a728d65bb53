"""A tenant with an identity provider, and a control plane that has nothing but identity."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from felix.identity.gatekeeper import Gatekeeper
from felix.identity.settings import IdentitySettings
from felix.proto.commands import GrantRefresh, UseRefresh
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import FelixError, NotFound, Unauthorized
from felix.proto.identity import (
    BrokerCredential,
    BrokerCredentials,
    Done,
    Grouping,
    IdentityView,
    IdpIssuer,
    Jwks,
    Policy,
    RefreshGrant,
    SealedKey,
)
from felix.proto.queries import GetIssuerKeys, GetTenantIdentity, ListBrokerCredentials
from felix.proto.resources import SigningKey, TokenRevocation
from felix.proto.rpc import AnyRequest
from felix.storage.sealed import Sealer

ISSUER: Final = "https://idp.example.test"
AUDIENCE: Final = "felix-controlplane"
NOW_S: Final = 1_800_000_000
SEALER: Final = Sealer((bytes(32),))

ES_KEY: Final = ec.generate_private_key(ec.SECP256R1())
OTHER_ES_KEY: Final = ec.generate_private_key(ec.SECP256R1())
RSA_KEY: Final = rsa.generate_private_key(65_537, 2_048)
ED_KEY: Final = ed25519.Ed25519PrivateKey.generate()
PRIVATE: Final[dict[str, Any]] = {"es": ES_KEY, "rsa": RSA_KEY, "ed": ED_KEY}
"""By the `kid` under which the provider publishes them."""


def number(value: int, length: int | None = None) -> str:
    """Write a number as a JWK does."""
    return octets(value.to_bytes(length or (value.bit_length() + 7) // 8))


def octets(data: bytes) -> str:
    """Write octets in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk_of(key: Any, kid: str, **members: object) -> dict[str, object]:
    """Write the public half of a key as a JWK without `alg`; members may be added or replaced."""
    jwk: dict[str, object] = {"kid": kid, "use": "sig"}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        size = (key.curve.key_size + 7) // 8
        curve = f"P-{key.curve.key_size}"
        jwk |= {"kty": "EC", "crv": curve, "x": number(point.x, size), "y": number(point.y, size)}
    elif isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        jwk |= {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    else:
        raw = key.public_key().public_bytes_raw()
        jwk |= {"kty": "OKP", "crv": "Ed25519", "x": octets(raw)}
    return jwk | members


def key_set(*keys: dict[str, object]) -> bytes:
    """Write a key set."""
    return json.dumps({"keys": keys}).encode()


KEY_SET: Final = key_set(*(jwk_of(key, kid) for kid, key in PRIVATE.items()))


class IdentityPlane:
    """A `ControlPlane` for the messages that the identity package sends."""

    def __init__(self) -> None:
        self.views: dict[str, IdentityView] = {}
        self.key_sets: dict[tuple[str, str], bytes] = {}
        self.brokers: tuple[BrokerCredential, ...] = ()
        self.grants: dict[str, RefreshGrant] = {}
        self.asked: Counter[str] = Counter()
        """How often what was asked, by the name of the message."""
        self.failure: FelixError | None = None
        self.age_ms = 0

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Answer at once."""
        self.asked[type(message).__name__] += 1
        if self.failure is not None:
            raise self.failure
        return Answered(self._answer(message), 1, self.age_ms if call.consistency == "stale" else 0)

    def _answer(self, message: AnyRequest) -> Any:
        match message:
            case GetTenantIdentity():
                return self._identity(message)
            case GetIssuerKeys():
                document = self.key_sets.get((message.tenant_id, message.issuer))
                if document is None:
                    raise NotFound("no such issuer")
                return Jwks(document=document, age_ms=0)
            case ListBrokerCredentials():
                return BrokerCredentials(self.brokers, 1)
            case GrantRefresh():
                self.grants[message.grant.grant_id] = message.grant
                return Done()
            case UseRefresh():
                return self._use(message)
        raise AssertionError(f"the identity package does not ask {message}")

    def _identity(self, query: GetTenantIdentity) -> IdentityView:
        view = self.views.get(query.tenant_id)
        if view is None:
            raise NotFound("no such tenant")
        if view.changed_index == query.known_index:
            return IdentityView(
                tenant_id=view.tenant_id, changed_index=view.changed_index, is_unchanged=True
            )
        return view

    def _use(self, command: UseRefresh) -> RefreshGrant:
        grant = self.grants.get(command.grant_id)
        if grant is None or grant.secret_hash != command.secret_hash:
            raise Unauthorized("no such grant")
        if grant.is_used:
            family = grant.family
            made = self.grants.get(command.next_id)
            if made is not None and not made.is_used and made.family == family:
                return made
            self.grants = {k: v for k, v in self.grants.items() if v.family != family}
            raise Unauthorized("used before")
        self.grants[grant.grant_id] = msgspec.structs.replace(grant, is_used=True)
        successor = msgspec.structs.replace(
            grant, grant_id=command.next_id, secret_hash=command.next_secret_hash
        )
        self.grants[command.next_id] = successor
        return successor


class World:
    """The tenant `acme`, its provider, and a gatekeeper with clocks that tests turn."""

    def __init__(self, **settings: Any) -> None:
        self.now_s = float(NOW_S)
        self.ticks_s = 1_000.0
        self.plane = IdentityPlane()
        self.add_tenant("acme")
        known: dict[str, Any] = {"algorithms": ("ES256", "RS256", "PS256", "EdDSA")}
        self.gate = Gatekeeper(
            self.plane,
            IdentitySettings(**(known | settings)),
            SEALER,
            lambda: self.now_s,
            lambda: self.ticks_s,
        )

    def add_tenant(self, tenant_id: str, *rules: tuple[str, str, str]) -> None:
        """Add a tenant with one issuer, one active key, and rules."""
        new = SEALER.new_key(tenant_id)
        issuer = IdpIssuer(
            tenant_id=tenant_id, issuer=ISSUER, audiences=(AUDIENCE,), groups_claim="groups"
        )
        self.plane.key_sets[tenant_id, ISSUER] = KEY_SET
        self.plane.views[tenant_id] = IdentityView(
            tenant_id=tenant_id,
            changed_index=10,
            issuers=(issuer,),
            policies=tuple(Policy(tenant_id, *rule) for rule in rules),
            keys=(self.signing_key(new.kid, new.public_key, "active", tenant_id),),
            sealed_keys=(SealedKey(tenant_id, new.kid, new.public_key, new.kek_id, new.sealed),),
        )

    @staticmethod
    def signing_key(kid: str, public_key: str, state: Any, tenant_id: str = "acme") -> SigningKey:
        """Make a record of a key."""
        return SigningKey(
            tenant_id=tenant_id,
            kid=kid,
            public_key=public_key,
            state=state,
            version=1,
            updated_at_ms=0,
        )

    def change(self, tenant_id: str = "acme", **members: Any) -> None:
        """Change a tenant's identity, and let the caches run out."""
        view = self.plane.views[tenant_id]
        self.plane.views[tenant_id] = msgspec.structs.replace(
            view, changed_index=view.changed_index + 1, **members
        )
        self.ticks_s += 60.0

    def rules(self, *rules: tuple[str, str, str], tenant_id: str = "acme") -> None:
        """Replace the rules of a tenant."""
        self.change(tenant_id, policies=tuple(Policy(tenant_id, *rule) for rule in rules))

    def roles(self, *assigned: tuple[str, str]) -> None:
        """Replace the assignments of `acme`."""
        self.change(groupings=tuple(Grouping("acme", *one) for one in assigned))

    def issuer(self, **members: Any) -> None:
        """Change the one issuer of `acme`."""
        (old,) = self.plane.views["acme"].issuers
        self.change(issuers=(msgspec.structs.replace(old, **members),))

    def revoke(self, principal: str, before_s: float) -> None:
        """Void the tokens of somebody."""
        revocation = TokenRevocation(
            tenant_id="acme",
            principal=principal,
            before_ms=int(before_s * 1000),
            version=1,
            updated_at_ms=0,
        )
        self.change(revocations=(revocation,))


def claims(**members: object) -> dict[str, object]:
    """Write the claims of a good upstream token; None takes one out."""
    good: dict[str, object] = {
        "iss": ISSUER,
        "sub": "user-42",
        "aud": AUDIENCE,
        "iat": NOW_S,
        "exp": NOW_S + 3_600,
    }
    return {name: value for name, value in (good | members).items() if value is not None}


def signed(
    payload: dict[str, object] | bytes,
    *,
    algorithm: str = "ES256",
    kid: str | None = "es",
    key: Any = None,
    headers: dict[str, object] | None = None,
) -> str:
    """Sign whatever it is, as a provider would."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    members = {} if kid is None else {"kid": kid}
    return jwt.PyJWS().encode(
        data, key or PRIVATE[kid or "es"], algorithm, headers=members | (headers or {})
    )


def pieces(header: object, payload: object, signature: bytes = b"") -> str:
    """Put a token together without any signature."""
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)
    ]
    return ".".join(octets(part) for part in (*parts, signature))
