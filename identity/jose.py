"""Signed tokens as bytes: strict reading before anything else, then the signature.

RFC 7515, compact form only. PyJWT does the cryptography; what it would let pass (repeated members,
`NaN`, a text that decodes to the same bytes in several ways) is refused here before it.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Final, TypeAlias

import jwt.algorithms
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWS

from felix.identity.reasons import NotProven

PublicKey: TypeAlias = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey

FAMILIES: Final[dict[str, frozenset[str]]] = {
    "EC": frozenset({"ES256"}),
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "OKP": frozenset({"EdDSA"}),
}
"""By the type of the key: a key never verifies an algorithm of another family."""
ALGORITHMS: Final = frozenset().union(*FAMILIES.values())

TOKEN_BYTES_MAX: Final = 32_768
KID_CHARS_MAX: Final = 512
DEPTH_MAX: Final = 32

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)", re.ASCII)
_REGISTERED: Final = frozenset({
    "alg", "jku", "jwk", "kid", "x5u", "x5c", "x5t", "x5t#S256", "typ", "cty", "crit",
})  # fmt: skip
"""Header members that may be something else than a string (contract, section 7.3, step 1)."""
_LAST_CHARS: Final = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}
"""By length modulo 4: after any other last character bits would be left over."""


class Compact(msgspec.Struct, frozen=True, gc=False):
    """A token in its parts; nothing of it is proven."""

    algorithm: str
    kid: str | None
    payload: bytes
    signed: bytes
    """What the signature is over."""
    signature: bytes


def read_compact(
    token: str, algorithms: frozenset[str], bytes_max: int = TOKEN_BYTES_MAX
) -> Compact:
    """Take a token apart.

    Raises: NotProven.
    """
    if len(token) > bytes_max:
        raise NotProven("token_too_large")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise NotProven("malformed")
    header_text, payload_text, signature_text = parts.groups()
    header = read_object(_decode(header_text))
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise NotProven("malformed")
    if "crit" in header:
        raise NotProven("critical_header")
    if any(not isinstance(header[name], str) for name in header.keys() - _REGISTERED):
        raise NotProven("malformed")
    if algorithm not in algorithms:
        raise NotProven("algorithm")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= KID_CHARS_MAX):
        raise NotProven("malformed")
    signed = token[: -1 - len(signature_text)].encode("ascii")
    return Compact(algorithm, kid, _decode(payload_text), signed, _decode(signature_text))


def is_signed_by(token: Compact, key: PublicKey) -> bool:
    """Tell whether a signature holds; the key must be one for the token's algorithm."""
    return _VERIFIERS[token.algorithm].verify(token.signed, key, token.signature)


def read_object(data: bytes) -> dict[str, object]:
    """Read a JSON object that can be read in one way only.

    Raises: NotProven for anything else: other JSON, repeated members at any depth, `NaN`, halves of
    surrogate pairs, more than `DEPTH_MAX` levels.
    """
    try:
        text = data.decode()
        value = _json.decode(text)
        if "\\u" in text:
            msgspec.json.decode(data)  # refuses half a surrogate pair, which json lets pass
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        raise NotProven("malformed") from error
    if not isinstance(value, dict):
        raise NotProven("malformed")
    # No text is deeper than it has brackets, and few have many.
    if text.count("{") + text.count("[") > DEPTH_MAX and _is_deep(value):
        raise NotProven("malformed")
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        level = inner
    return any(isinstance(item, (dict, list)) for item in level)


def decode_text(text: str) -> bytes | None:
    """Decode base64url without padding; None for what is not the one way to write some bytes."""
    if not _BASE64URL.fullmatch(text):
        return None
    beyond = len(text) % 4
    if beyond == 1 or (beyond and text[-1] not in _LAST_CHARS[beyond]):
        return None
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode_text(data: bytes) -> bytes:
    """Write bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def header_of(kid: str, key: Ed25519PrivateKey) -> bytes:
    """Write the header of all tokens that a key signs, in base64url.

    PyJWT writes exactly `typ`, `alg` and `kid`, all strings, as brokers need it.
    """
    token = _JWS.encode(b"", key, "EdDSA", headers={"kid": kid})
    return token.partition(".")[0].encode("ascii")


def _decode(text: str) -> bytes:
    data = decode_text(text)
    if data is None:
        raise NotProven("malformed")
    return data


def _once(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member stands there twice")
    return found


def _refuse(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_JWS: Final = PyJWS(algorithms=["EdDSA"])
_json = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse)
_VERIFIERS: Final = {
    name: algorithm
    for name, algorithm in jwt.algorithms.get_default_algorithms().items()
    if name in ALGORITHMS
}
