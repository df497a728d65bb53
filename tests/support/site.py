"""One node with everything that identity needs, asked over real HTTP as strangers would ask it.

with idp_server() as idp, site(idp.issuer) as felix:
    felix.bootstrap("acme")
    answer = felix.exchange("acme", idp.token("alice"))
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import jwt
import msgspec
import urllib3

from felix.cli.config import (
    LISTENERS,
    AuthConfig,
    BootstrapConfig,
    ClusterConfig,
    Config,
    KeysConfig,
    LimitsConfig,
    ListenConfig,
    MemberConfig,
)
from felix.proto.permissions import OPERATOR_TENANT
from tests.support.cluster import HOST, KEK, Cluster, RunningNode, free_ports
from tests.support.waiting import eventually

BOOTSTRAP_TOKEN: Final = "day-zero-secret-of-this-test"
ADMIN: Final = "alice"
"""Whom `bootstrap` makes the administrator of a tenant."""


class Answer:
    """What came back."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = response.data.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and code; the envelope must be complete."""
        body = self.json
        assert set(body) - {"details"} == {"code", "message", "request_id"}, body
        assert body["request_id"] == self.headers["X-Request-Id"]
        return self.status, body["code"]

    def ok(self) -> Any:
        """Give the body of an answer that must be a success."""
        assert 200 <= self.status < 300, self.text
        return self.json if self.text else None


class Site:
    """The node, and an identity provider that its tenants trust."""

    def __init__(self, node: RunningNode, issuer: str) -> None:
        self.node = node
        self.issuer = issuer
        self._http = urllib3.PoolManager(retries=False, timeout=20.0, maxsize=8)
        self._numbers = itertools.count(1)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request to the API; a body is sent as JSON, or as it is if it is bytes."""
        return self._send(self.node.config.listen.http, method, path, body, token, headers or {})

    def exchange(
        self, tenant: str, upstream: str | None, body: object = None, **headers: str
    ) -> Answer:
        """Trade a token of the identity provider in."""
        path = f"/v1/tenants/{tenant}/token/exchange"
        return self.ask("POST", path, body, token=upstream, headers=headers)

    def initialize(self, tenant: str, body: object, secret: str | None = BOOTSTRAP_TOKEN) -> Answer:
        """Ask the bootstrap listener."""
        headers = {} if secret is None else {"X-Felix-Bootstrap-Token": secret}
        path = f"/internal/bootstrap/tenants/{tenant}/initialize"
        address = self.node.config.bootstrap.bind_addr
        return self._send(address, "POST", path, body, None, headers)

    def bootstrap(self, tenant: str, **members: Any) -> Any:
        """Make a tenant that trusts the provider, with alice as its administrator."""
        return self.initialize(tenant, self.bootstrap_body(**members)).ok()

    def bootstrap_body(self, **members: Any) -> dict[str, Any]:
        """Give what `bootstrap` sends."""
        return {
            "display_name": "Acme",
            "idp_issuers": [self.issuer_body()],
            "initial_admin_principals": [self.principal(ADMIN)],
        } | members

    def issuer_body(self, **members: Any) -> dict[str, Any]:
        """Describe the provider as tenants do."""
        return {
            "issuer": self.issuer,
            "audiences": ["felix-controlplane"],
            "discovery_url": None,
            "jwks_url": f"{self.issuer}/keys",
            "claim_mappings": {"subject_claim": "sub", "groups_claim": "groups"},
        } | members

    def principal(self, subject: str) -> str:
        """Name somebody as rules do."""
        return hashlib.sha256(f"{self.issuer}|{subject}".encode()).hexdigest()

    def new_tenant(self, **members: Any) -> str:
        """Make a tenant of its own for a test; give its name."""
        name = self.new_name()
        self.bootstrap(name, **members)
        return name

    def new_name(self) -> str:
        """Give a name that no tenant has."""
        return f"t{next(self._numbers)}"

    def token(self, tenant: str, upstream: str) -> str:
        """Trade a token in for a Felix token."""
        said = self.exchange(tenant, upstream).ok()
        assert said["token_type"] == "Bearer"
        assert 0 < said["expires_in"] <= 900
        return cast("str", said["felix_token"])

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def _send(
        self,
        address: str,
        method: str,
        path: str,
        body: object,
        token: str | None,
        headers: dict[str, str],
    ) -> Answer:
        sent = dict(headers)
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://{address}{path}"
        return Answer(self._http.request(method, url, body=data, headers=sent))


def claims_of(felix_token: str) -> dict[str, Any]:
    """Read a token without verifying it."""
    found: dict[str, Any] = jwt.decode(felix_token, options={"verify_signature": False})
    return found


@contextmanager
def site(issuer: str, **settings: Any) -> Iterator[Site]:
    """Run a node until the block ends, with alice for an operator.

    `settings` are members of `Config`; those of `auth` come on top of what tests need.
    """
    folder = Path(tempfile.mkdtemp(prefix="felix-test-"))  # short: it holds ipc sockets
    node = RunningNode(_config(folder, **settings), folder / "n1")
    alone = Cluster([node])
    try:
        alone.start()
        found = Site(node, issuer)
        found.bootstrap(OPERATOR_TENANT)
        # A node that has just started does not yet know how fresh its state is.
        eventually(lambda: found.exchange(OPERATOR_TENANT, "no token").status == 401)
        yield found
        found.close()
    except BaseException:
        alone.print_logs()
        raise
    finally:
        alone.close()
        shutil.rmtree(folder)


def _config(folder: Path, **settings: Any) -> Config:
    *ports, bootstrap_port = free_ports(len(LISTENERS) + 1)
    addresses = {name: f"{HOST}:{port}" for name, port in zip(LISTENERS, ports, strict=True)}
    auth = AuthConfig(idp_private_addresses=True)
    config = Config(
        name="n1",
        data_dir=str(folder / "n1" / "data"),
        cluster=ClusterConfig(
            name=folder.name, bootstrap="new", members=(MemberConfig(name="n1", **addresses),)
        ),
        listen=ListenConfig(**addresses),
        auth=msgspec.structs.replace(auth, **settings.pop("auth", {})),
        keys=KeysConfig(kek=KEK),
        limits=LimitsConfig(client_requests_per_s=0),  # tests send much that is refused
        bootstrap=BootstrapConfig(
            enabled=True, bind_addr=f"{HOST}:{bootstrap_port}", token=BOOTSTRAP_TOKEN
        ),
    )
    return msgspec.structs.replace(config, **settings)
