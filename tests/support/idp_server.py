"""A real little identity provider on loopback, which can also be slow, hostile, or down.

with idp_server() as idp:
    token = idp.token("alice", groups=["ops"], audience="felix-controlplane")
"""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Mood: TypeAlias = Literal[
    "well",
    "silent",
    "dripping",
    "dripping_headers",
    "redirecting",
    "huge",
    "huge_unannounced",
    "compressed",
    "failing",
    "not_json",
    "a_list",
    "deep",
    "garbage",
]
"""How it answers: `silent` says nothing until the end, `dripping` a byte at a time for ever."""

DISCOVERY_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/keys"
HUGE_BYTES = 50 << 20
_UNUSABLE: dict[Mood, bytes] = {
    "not_json": b"<html>Sign in</html>",
    "a_list": b"[]",
    "deep": b'{"keys":' + b"[" * 200_000,
}
LINK_LOCAL = "http://169.254.169.254/latest/meta-data/"


class IdpServer:
    """What a test sees of it; every member may be used from any thread."""

    def __init__(self, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        self.mood: Mood = "well"
        self.discovery: dict[str, Any] = {}
        """Members of the discovery document that are to be otherwise; None leaves one out."""
        self.extra_keys: list[dict[str, Any]] = []
        """Entries of the JWKS, behind the real ones."""
        self.redirect_to = LINK_LOCAL
        """Where it sends whoever asks while it is `redirecting`."""
        self.requests: list[str] = []
        """The path of every request, in the order of arrival."""
        self.request_headers: list[dict[str, str]] = []
        self._host = host
        self._tls = _Certificate(host) if tls else None
        self._keys: dict[str, PrivateKey] = {}
        self._kids: dict[str, str] = {}
        self._ended = threading.Event()
        self._server = self._serve(0)
        self.port = int(self._server.server_address[1])
        self.rotate()

    # --- where it is --------------------------------------------------------------------------

    @property
    def issuer(self) -> str:
        """As in `iss`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def discovery_url(self) -> str:
        """Where OpenID Connect Discovery looks."""
        return self.issuer + DISCOVERY_PATH

    @property
    def jwks_url(self) -> str:
        """Where its keys are."""
        return self.issuer + JWKS_PATH

    @property
    def ca_file(self) -> str:
        """Whom to trust in order to speak to it over TLS."""
        assert self._tls is not None, "it does not speak TLS"
        return self._tls.path

    # --- keys and tokens ----------------------------------------------------------------------

    def rotate(self, *, keep_old: bool = False) -> None:
        """Sign with new keys from now on; the old ones are published no more."""
        if not keep_old:
            self._keys = {}
        self._kids = {}
        self._new_key("ES256")

    def kid(self, alg: str = "ES256") -> str:
        """Name the key that signs by an algorithm now."""
        family = "ES256" if alg == "ES256" else "RS256"
        return self._kids.get(family) or self._new_key(family)

    def key(self, alg: str = "ES256") -> PrivateKey:
        """Give the key that signs by an algorithm now, to forge with."""
        kid = self.kid(alg)  # which may make a key
        return self._keys[kid]

    def token(
        self,
        subject: str,
        *,
        groups: Sequence[str] | None = None,
        audience: str | list[str] = "felix-controlplane",
        alg: str = "ES256",
        lifetime_s: int = 300,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Sign a token for a subject. `claims` and `headers` win; one that is None is left out."""
        now = int(time.time())
        body = {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + lifetime_s,
            "groups": None if groups is None else list(groups),
        } | claims
        head = {"kid": self.kid(alg)} | (headers or {})
        return jwt.encode(
            {name: value for name, value in body.items() if value is not None},
            self.key(alg),
            algorithm=alg,
            headers={name: value for name, value in head.items() if value is not None},
        )

    def jwks(self) -> dict[str, Any]:
        """Make the key set that it publishes."""
        return {"keys": [_jwk(kid, key) for kid, key in self._keys.items()] + self.extra_keys}

    def _new_key(self, family: str) -> str:
        kid = uuid.uuid4().hex
        key: PrivateKey
        if family == "ES256":
            key = ec.generate_private_key(ec.SECP256R1())
        else:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._keys = {kid: key, **self._keys}
        self._kids[family] = kid
        return kid

    # --- being there or not -------------------------------------------------------------------

    def count(self, path: str) -> int:
        """Count the requests for a path (`/keys`)."""
        return Counter(self.requests)[path]

    def go_down(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()

    def come_up(self) -> None:
        """Be there again, on the same port."""
        self._server = self._serve(self.port)

    def close(self) -> None:
        """End, and let go of those who wait."""
        self._ended.set()
        self.go_down()
        if self._tls:
            self._tls.folder.cleanup()

    def _serve(self, port: int) -> _Server:
        kind = _ServerOfIpv6 if ":" in self._host else _Server
        server = kind((self._host, port), _Handler)
        server.idp = self
        if self._tls:
            server.socket = self._tls.context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return server

    # --- answering ----------------------------------------------------------------------------

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request, in the thread of its connection."""
        self.requests.append(handler.path)
        self.request_headers.append(dict(handler.headers))
        body = json.dumps(self._document(handler.path)).encode()
        match self.mood:
            case "well":
                _respond(handler, 404 if body == b"null" else 200, body)
            case "silent":
                self._ended.wait(60)
            case "dripping":
                _respond(handler, 200, b"", length=100_000)
                self._drip(handler, b" ")
            case "dripping_headers":
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                self._drip(handler, b"a")
            case "redirecting":
                _respond(handler, 302, b"", header=("Location", self.redirect_to))
            case "huge":
                _respond(handler, 200, b"", length=HUGE_BYTES)
                self._flood(handler)
            case "huge_unannounced":
                _respond(handler, 200, b"", length=None)
                self._flood(handler)
            case "compressed":
                _respond(handler, 200, body, header=("Content-Encoding", "gzip"))
            case "failing":
                _respond(handler, 500, body)
            case "garbage":
                handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n" * 10)
            case _:
                _respond(handler, 200, _UNUSABLE[self.mood])

    def _document(self, path: str) -> dict[str, Any] | None:
        if path == JWKS_PATH:
            return self.jwks()
        if path == DISCOVERY_PATH:
            document = {
                "issuer": self.issuer,
                "jwks_uri": self.jwks_url,
                "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            } | self.discovery
            return {name: value for name, value in document.items() if value is not None}
        return None

    def _drip(self, handler: BaseHTTPRequestHandler, what: bytes) -> None:
        while not self._ended.wait(0.1):
            handler.wfile.write(what)

    def _flood(self, handler: BaseHTTPRequestHandler) -> None:
        for _ in range(HUGE_BYTES >> 16):
            if self._ended.is_set():
                return
            handler.wfile.write(b" " * (1 << 16))


@contextmanager
def idp_server(*, tls: bool = False, host: str = "127.0.0.1") -> Iterator[IdpServer]:
    """Run an identity provider until the block ends."""
    idp = IdpServer(tls=tls, host=host)
    try:
        yield idp
    finally:
        idp.close()


class _Server(ThreadingHTTPServer):
    idp: IdpServer
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


class _ServerOfIpv6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    timeout = 60.0
    server: _Server

    def do_GET(self) -> None:
        self.server.idp.answer(self)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _respond(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    *,
    length: int | None = -1,
    header: tuple[str, str] | None = None,
) -> None:
    """Send a response, and announce a `length`: by default that of the body; None: nothing."""
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    if length is not None:
        handler.send_header("Content-Length", str(len(body) if length < 0 else length))
    if header is not None:
        handler.send_header(*header)
    handler.end_headers()
    handler.wfile.write(body)


def _jwk(kid: str, key: PrivateKey) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        return {**public, "kid": kid, "use": "sig", "alg": "RS256"}
    return {
        **ECAlgorithm.to_jwk(key.public_key(), as_dict=True),
        "kid": kid,
        "use": "sig",
        "alg": "ES256",
    }


class _Certificate:
    """A self-signed certificate for one host."""

    def __init__(self, host: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "felix test idp")])
        names: list[x509.GeneralName] = [x509.DNSName("localhost")]
        if host != "localhost":
            names.append(x509.IPAddress(ip_address(host)))
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.folder = tempfile.TemporaryDirectory(prefix="felix-idp-")
        path = Path(self.folder.name)
        certified = certificate.public_bytes(serialization.Encoding.PEM)
        (path / "ca.pem").write_bytes(certified)
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (path / "server.pem").write_bytes(certified + secret)
        self.path = str(path / "ca.pem")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path / "server.pem")
