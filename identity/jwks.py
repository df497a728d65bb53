"""The keys of identity providers: read from their key sets, remembered for a moment.

The node fetches them and keeps them while the provider is away; here they become keys, so that a
token costs no more than its signature.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from felix.identity.fresh import Fresh
from felix.identity.jose import FAMILIES, PublicKey, decode_text
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import IdpUnavailable
from felix.proto.identity import IdpIssuer, Jwks
from felix.proto.queries import GetIssuerKeys

KEYS_MAX: Final = 100
"""Of a set; the rest is not looked at."""
RSA_BITS_MIN: Final = 2_048
RSA_BITS_MAX: Final = 8_192
"""A signature by a larger one takes too long to verify."""
RSA_EXPONENT_MAX: Final = 2**32

ISSUERS_MAX: Final = 1_024
BELIEVED_S: Final = 10.0
MISSING_KIDS_MAX: Final = 4_096
MISSING_S: Final = 10.0
"""For so long a `kid` that the provider does not have is not asked for again."""
COOLDOWN_S: Final = 1.0
"""Between two questions for an unknown `kid` to the same issuer: a flood of them costs nothing."""


class IssuerKey(msgspec.Struct, frozen=True):
    """A key by which an identity provider signs."""

    kid: str
    algorithms: frozenset[str]
    """For which it is meant; all of one family."""
    key: PublicKey


class KeySet(msgspec.Struct, frozen=True):
    """An identity provider's keys."""

    document: bytes
    by_kid: Mapping[str, IssuerKey]


class _Jwk(msgspec.Struct, frozen=True):
    kty: str
    kid: str
    use: str | None = None
    key_ops: tuple[str, ...] | None = None
    alg: str | None = None
    crv: str = ""
    x: str = ""
    y: str = ""
    n: str = ""
    e: str = ""


class _Document(msgspec.Struct, frozen=True):
    keys: tuple[msgspec.Raw, ...]


_document = msgspec.json.Decoder(_Document)
_jwk = msgspec.json.Decoder(_Jwk)


def read_key_set(document: bytes) -> KeySet:
    """Read a key set (RFC 7517); keys that cannot be used are left out (contract, chapter 15, C14).

    Raises: IdpUnavailable if it is none.
    """
    try:
        entries = _document.decode(document).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IdpUnavailable("the identity provider's key set cannot be read") from error
    by_kid: dict[str, IssuerKey] = {}
    for entry in entries[:KEYS_MAX]:
        key = _read_key(bytes(entry))
        if key is not None:
            by_kid.setdefault(key.kid, key)  # of two with one `kid` the first one counts
    return KeySet(document, by_kid)


def _read_key(entry: bytes) -> IssuerKey | None:
    try:
        jwk = _jwk.decode(entry)
        family = FAMILIES.get(jwk.kty)
        is_for_signatures = jwk.use in {None, "sig"} and "verify" in (jwk.key_ops or ("verify",))
        if family is None or not is_for_signatures:
            return None
        # RFC 9864 calls by its curve what RFC 8037 calls EdDSA.
        named = "EdDSA" if (jwk.kty, jwk.alg) == ("OKP", "Ed25519") else jwk.alg
        algorithms = family if named is None else family & {named}
        if not algorithms:
            return None
        return IssuerKey(jwk.kid, algorithms, _READERS[jwk.kty](jwk))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


def _elliptic(jwk: _Jwk) -> PublicKey:
    if jwk.crv != "P-256":
        raise ValueError("another curve")
    point = EllipticCurvePublicNumbers(
        int.from_bytes(_octets(jwk.x, 32)), int.from_bytes(_octets(jwk.y, 32)), SECP256R1()
    )
    return point.public_key()


def _rsa(jwk: _Jwk) -> PublicKey:
    modulus, exponent = int.from_bytes(_octets(jwk.n)), int.from_bytes(_octets(jwk.e))
    if not RSA_BITS_MIN <= modulus.bit_length() <= RSA_BITS_MAX:
        raise ValueError("too short or too long")
    if not 3 <= exponent <= RSA_EXPONENT_MAX:
        raise ValueError("an exponent that nobody uses")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _edwards(jwk: _Jwk) -> PublicKey:
    if jwk.crv != "Ed25519":
        raise ValueError("another curve")
    return Ed25519PublicKey.from_public_bytes(_octets(jwk.x, 32))


_READERS: Final = {"EC": _elliptic, "RSA": _rsa, "OKP": _edwards}


def _octets(text: str, length: int | None = None) -> bytes:
    octets = decode_text(text)
    if not octets or (length is not None and len(octets) != length):
        raise ValueError("not the octets of this member")
    return octets


_Place: TypeAlias = tuple[str, str, int]
"""Tenant, issuer, and when the issuer was changed last: then its keys may be others."""


class IssuerKeys:
    """The keys of all identity providers, as this worker has them. Any thread may use it."""

    def __init__(self, control_plane: ControlPlane, monotonic: Callable[[], float]) -> None:
        self._control_plane = control_plane
        self._monotonic = monotonic
        self._sets: Fresh[_Place, KeySet] = Fresh(
            self._load,
            believed_s=BELIEVED_S,
            entries_max=ISSUERS_MAX,
            monotonic=monotonic,
            crowded=_crowded,
        )
        self._lock = threading.Lock()
        self._missing: OrderedDict[tuple[_Place, str], float] = OrderedDict()
        self._asked: OrderedDict[_Place, float] = OrderedDict()

    def find(self, issuer: IdpIssuer, kid: str) -> IssuerKey | None:
        """Find the key that a token names; ask for it if the provider may have it by now.

        Raises: IdpUnavailable, NotFound (the issuer), and what else the node says.
        """
        place = (issuer.tenant_id, issuer.issuer, issuer.updated_at_ms)
        known = self._sets.get(place)
        found = known.by_kid.get(kid)
        if found is not None or not self._may_ask(place, kid):
            return found
        query = GetIssuerKeys(tenant_id=issuer.tenant_id, issuer=issuer.issuer, missing_kid=kid)
        renewed = self._sets.ask(place, lambda: self._ask(query, known))
        return renewed.by_kid.get(kid)

    def _may_ask(self, place: _Place, kid: str) -> bool:
        """Tell whether an unknown `kid` is worth a question, and take note that it was asked."""
        now_s = self._monotonic()
        with self._lock:
            is_early = now_s < self._asked.get(place, now_s)
            if is_early or now_s < self._missing.get((place, kid), now_s):
                return False
            self._asked[place] = now_s + COOLDOWN_S
            self._missing[place, kid] = now_s + MISSING_S
            if len(self._asked) > ISSUERS_MAX:
                self._asked.popitem(last=False)
            if len(self._missing) > MISSING_KIDS_MAX:
                self._missing.popitem(last=False)
            return True

    def _load(self, place: _Place, last: KeySet | None, _must_be_fresh: bool) -> KeySet:
        return self._ask(GetIssuerKeys(tenant_id=place[0], issuer=place[1]), last)

    def _ask(self, query: GetIssuerKeys, last: KeySet | None) -> KeySet:
        answer = self._control_plane.ask(query, Call(consistency="stale")).result
        assert isinstance(answer, Jwks)
        if last is not None and answer.document == last.document:
            return last
        return read_key_set(answer.document)


def _crowded() -> IdpUnavailable:
    """A slow provider must not take all threads of a worker from those who trust another."""
    return IdpUnavailable(
        "the identity provider is slow, and enough requests wait for it", retry_after_ms=1000
    )
