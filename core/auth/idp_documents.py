"""What identity providers publish, read: discovery documents and key sets."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

from felix.proto.identity import IssuerProbe

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
SHOWN_CHARS_MAX: Final = 512
"""Of what a stranger's document says, so much is repeated."""
RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE: Final = {("EC", "P-256"): ("ES256",), ("OKP", "Ed25519"): ("EdDSA",)}
_MEMBERS: Final = {"EC": ("x", "y"), "OKP": ("x",), "RSA": ("n", "e")}


class BadDocument(Exception):
    """It is not what it should be."""


class Discovery(msgspec.Struct, frozen=True):
    """What is used of a discovery document (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    jwks_uri: str


class KeySet(msgspec.Struct, frozen=True):
    """A key set (RFC 7517), as it came."""

    document: bytes
    kids: frozenset[str]


class _KeySetShape(msgspec.Struct):
    keys: list[Any]


def discovery_url(issuer: str) -> str:
    """Say where an issuer's discovery document is where nobody says otherwise."""
    return issuer.rstrip("/") + DISCOVERY_PATH


def read_discovery(body: bytes) -> Discovery:
    """Read a discovery document. Raises: BadDocument."""
    try:
        found = msgspec.json.decode(body, type=Discovery)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadDocument(f"its discovery document cannot be used: {error}") from error
    if max(len(found.issuer), len(found.jwks_uri)) > SHOWN_CHARS_MAX * 4:
        raise BadDocument("its discovery document cannot be used: a member is too long")
    return found


def read_key_set(body: bytes) -> KeySet:
    """Read a key set; keys that cannot be used do not spoil the others. Raises: BadDocument."""
    return KeySet(body, frozenset(kid for one in _keys(body) if (kid := _text(one, "kid"))))


def probe(issuer: str, discovery: Discovery | None, jwks_url: str, body: bytes) -> IssuerProbe:
    """Say what an administrator wants to know of an issuer before trusting it."""
    found = None if discovery is None else discovery.issuer[:SHOWN_CHARS_MAX]
    try:
        keys = [one for one in _keys(body) if algorithms_of(one)]
    except BadDocument as error:
        return IssuerProbe(found_issuer=found, jwks_url=jwks_url, problem=str(error))
    algorithms = tuple(sorted({name for one in keys for name in algorithms_of(one)}))
    return IssuerProbe(
        found_issuer=found,
        jwks_url=jwks_url,
        algorithms=algorithms,
        keys=len(keys),
        problem=mismatch(issuer, discovery) or _problem_of(keys),
    )


def mismatch(issuer: str, discovery: Discovery | None) -> str:
    """Say how the configured issuer and the provider's own word for it differ, if they do."""
    if discovery is None or discovery.issuer == issuer:
        return ""
    said = discovery.issuer[:SHOWN_CHARS_MAX]
    hint = ""
    if said.rstrip("/") == issuer.rstrip("/"):
        hint = ": they differ by a slash at the end, and are compared byte for byte"
    return f"the provider calls itself {said!r}, not {issuer!r}{hint}"


def algorithms_of(key: dict[str, Any]) -> tuple[str, ...]:
    """Name the algorithms whose signatures a key can verify; none: it cannot be used."""
    kind = _text(key, "kty")
    if key.get("use", "sig") != "sig" or not all(_text(key, one) for one in _MEMBERS.get(kind, ())):
        return ()
    possible = RSA_ALGORITHMS if kind == "RSA" else _BY_CURVE.get((kind, _text(key, "crv")), ())
    named = key.get("alg")
    if named is None:
        return possible
    return tuple(name for name in possible if name == named)


def _problem_of(keys: list[dict[str, Any]]) -> str:
    if not keys:
        return "no key in its key set can be used"
    kids = Counter(_text(one, "kid") for one in keys)
    if kids.pop("", 0):
        return "a key in its key set has no kid, so that no token can name it"
    twice = [kid for kid, count in kids.items() if count > 1]
    if twice:
        return f"two keys in its key set have the same kid: {twice[0][:SHOWN_CHARS_MAX]}"
    return ""


def _keys(body: bytes) -> list[dict[str, Any]]:
    try:
        shape = msgspec.json.decode(body, type=_KeySetShape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadDocument(f"its key set cannot be used: {error}") from error
    return [one for one in shape.keys if isinstance(one, dict)]


def _text(key: dict[str, Any], name: str) -> str:
    value = key.get(name)
    return value if isinstance(value, str) else ""
