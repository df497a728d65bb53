"""The development identity provider: a small OIDC provider on loopback that believes everyone.

Whoever can reach it gets a token for any subject: it binds loopback and nothing else, and answers
only to the names of loopback, so that no page in a browser can have it mint for another site.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeAlias

import falcon
import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from felix.http import errors
from felix.http.probes import ProbeServer
from felix.proto.errors import ValidationFailed

ALGORITHMS: Final = ("ES256", "RS256")
DEFAULT_AUDIENCE: Final = "felix-controlplane"
LIFETIME_S: Final = 3600
FORM_BYTES_MAX: Final = 16 * 1024

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class DevIdp:
    """Discovery, a key set, and `POST /token`; used by `felix-controlplane dev`."""

    def __init__(
        self, port: int = 0, data_dir: Path | None = None, host: str = "127.0.0.1"
    ) -> None:
        """`data_dir` keeps the keys from one run to the next. Raises: ValueError off loopback."""
        if not ip_address(host).is_loopback:
            raise ValueError(f"the development identity provider is for loopback, not {host}")
        self._host = f"[{host}]" if ":" in host else host
        self._keys = {alg: _load_or_make(alg, data_dir) for alg in ALGORITHMS}
        app: falcon.App[falcon.Request, falcon.Response] = falcon.App(middleware=[_OnlyLoopback()])
        errors.install(app)
        app.add_route("/.well-known/openid-configuration", _Discovery(self))
        app.add_route("/keys", _KeySet(self))
        app.add_route("/token", _Token(self))
        self._server = ProbeServer(host, port, app)

    def start(self) -> None:
        """Bind and serve in a thread. Raises: OSError when the address is taken."""
        self._server.start()

    def stop(self) -> None:
        """Close the socket."""
        self._server.stop()

    @property
    def issuer(self) -> str:
        """As in `iss`; known once it has started."""
        return f"http://{self._host}:{self._server.port}"

    def mint(
        self,
        subject: str,
        groups: Sequence[str] = (),
        audience: str = DEFAULT_AUDIENCE,
        alg: str = "ES256",
    ) -> str:
        """Sign a token for a subject. Raises: ValidationFailed."""
        if not subject or not audience:
            raise ValidationFailed("subject and audience must not be empty")
        if alg not in ALGORITHMS:
            raise ValidationFailed(f"alg is one of {', '.join(ALGORITHMS)}")
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + LIFETIME_S,
        }
        if groups:
            claims["groups"] = list(groups)
        key = self._keys[alg]
        return jwt.encode(claims, key, algorithm=alg, headers={"kid": _kid(key)})

    def key_set(self) -> dict[str, list[dict[str, Any]]]:
        """Render the public halves (RFC 7517)."""
        return {"keys": [_jwk(alg, key) for alg, key in self._keys.items()]}


class _OnlyLoopback:
    """Refuses requests by another name: those of pages whose name was made to point here."""

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        if req.host not in {"127.0.0.1", "localhost", "::1", "[::1]"}:
            raise falcon.HTTPForbidden


class _Discovery:
    """/.well-known/openid-configuration"""

    def __init__(self, idp: DevIdp) -> None:
        self._idp = idp

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Read (OpenID Connect Discovery 1.0, section 4)."""
        issuer = self._idp.issuer
        resp.media = {
            "issuer": issuer,
            "jwks_uri": f"{issuer}/keys",
            "token_endpoint": f"{issuer}/token",
            "id_token_signing_alg_values_supported": list(ALGORITHMS),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "claims_supported": ["sub", "groups"],
        }


class _KeySet:
    """/keys"""

    def __init__(self, idp: DevIdp) -> None:
        self._idp = idp

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Read."""
        resp.media = self._idp.key_set()


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subject: str
    groups: str = ""
    """Separated by commas."""
    audience: str = DEFAULT_AUDIENCE
    alg: str = "ES256"


class _Token:
    """/token"""

    def __init__(self, idp: DevIdp) -> None:
        self._idp = idp

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Mint: a form with `subject`, and perhaps `groups` (a,b), `audience` and `alg`."""
        if req.content_type is None or not req.content_type.startswith(falcon.MEDIA_URLENCODED):
            raise falcon.HTTPUnsupportedMediaType
        if req.content_length is None or req.content_length > FORM_BYTES_MAX:
            raise falcon.HTTPContentTooLarge
        try:
            form = msgspec.convert(req.get_media(), _Form)
        except msgspec.ValidationError as error:
            raise ValidationFailed(str(error)) from error
        groups = [name for name in form.groups.split(",") if name]
        token = self._idp.mint(form.subject, groups, form.audience, form.alg)
        resp.cache_control = ["no-store"]
        resp.media = {"id_token": token, "token_type": "Bearer", "expires_in": LIFETIME_S}


def _load_or_make(alg: str, data_dir: Path | None) -> PrivateKey:
    path = None if data_dir is None else data_dir / f"idp-{alg.lower()}.pem"
    if path is not None:
        with contextlib.suppress(FileNotFoundError):
            loaded = serialization.load_pem_private_key(path.read_bytes(), None)
            assert isinstance(loaded, PrivateKey)
            return loaded
    key: PrivateKey
    if alg == "ES256":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if path is not None:
        _keep(path, key)
    return key


def _keep(path: Path, key: PrivateKey) -> None:
    """Write a key whole or not at all, for its owner's eyes only."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(pem)
    new.replace(path)


def _jwk(alg: str, key: PrivateKey) -> dict[str, Any]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        members = RSAAlgorithm.to_jwk(public, as_dict=True)
    else:
        members = ECAlgorithm.to_jwk(public, as_dict=True)
    return {**members, "kid": _kid(key), "use": "sig", "alg": alg, "key_ops": ["verify"]}


def _kid(key: PrivateKey) -> str:
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()[:32]
