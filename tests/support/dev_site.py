"""A real cluster with closed doors, as `felix-controlplane dev` runs it, and who knocks there."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import urllib3

from felix.cli.dev import ReadyFile
from felix.cli.dev_nodes import PORTS_PER_NODE
from tests.support.cluster import free_ports
from tests.support.idp_server import IdpServer
from tests.support.waiting import eventually

AUDIENCE: Final = "felix-controlplane"
START_S: Final = 60.0


@contextmanager
def running_dev(
    folder: Path, nodes: int, brokers: int
) -> Iterator[tuple[subprocess.Popen[bytes], ReadyFile, Path]]:
    """Run it until the block ends; give the process, its ready file, and what it prints."""
    ready, output = folder / "ready.json", folder / "output"
    command = [sys.executable, "-m", "felix", "dev", "--nodes", str(nodes), "--brokers"]
    command += [str(brokers), "--data-dir", str(folder / "data"), "--ready-file", str(ready)]
    command += ["--base-port", str(free_ports(nodes * PORTS_PER_NODE)[0])]
    with output.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            eventually(lambda: ready.exists() or process.poll() is not None, START_S)
            assert process.poll() is None, output.read_text()
            yield process, msgspec.json.decode(ready.read_bytes(), type=ReadyFile), output
        except BaseException:
            print(output.read_text())
            raise
        finally:
            process.terminate()  # its nodes end with it, also when it was told before
            process.wait(60)


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: urllib3.HTTPHeaderDict
    content: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return msgspec.json.decode(self.content)

    @property
    def code(self) -> tuple[int, str]:
        """Status and code of a refusal, whose envelope must be complete."""
        body = self.json
        assert set(body) - {"details"} == {"code", "message", "request_id"}, body
        assert body["request_id"] == self.headers["X-Request-Id"]
        return self.status, body["code"]


class Site:
    """The doors of a cluster that runs. Any thread may use it."""

    def __init__(self, ready: ReadyFile) -> None:
        self.ready = ready
        self.operator = ready.admin_token
        self._http = urllib3.PoolManager(retries=False, timeout=20.0, maxsize=64)
        self._numbers = itertools.count(1)

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        node: int = 0,
        listener: str = "http",
        headers: dict[str, str] | None = None,
        **request: Any,
    ) -> Answer:
        """Send one request to a node."""
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        url = f"http://{getattr(self.ready.nodes[node], listener)}{path}"
        answer = self._http.request(method, url, headers=given, **request)
        return Answer(answer.status, answer.headers, answer.data)

    def new_name(self, prefix: str = "t") -> str:
        """Give a name that nothing has yet."""
        return f"{prefix}-{next(self._numbers)}"

    def bootstrap(
        self, tenant: str, idp: IdpServer, *admins: str, node: int = 0, **members: Any
    ) -> Answer:
        """Initialize a tenant that trusts a provider, its people `admins` as administrators."""
        body = {
            "display_name": tenant,
            "idp_issuers": [issuer_of(idp)],
            "initial_admin_principals": [principal_of(idp, one) for one in admins or ("alice",)],
        }
        return self.ask(
            "POST",
            f"/internal/bootstrap/tenants/{tenant}/initialize",
            node=node,
            listener="bootstrap",
            headers={"X-Felix-Bootstrap-Token": self.ready.bootstrap_token},
            json=body | members,
        )

    def new_tenant(self, idp: IdpServer, prefix: str = "t") -> str:
        """Make a tenant that trusts a provider, with `alice` as its administrator."""
        tenant = self.new_name(prefix)
        answer = self.bootstrap(tenant, idp)
        assert answer.status == 200, answer
        return tenant

    def exchange(
        self, upstream: str | None, tenant: str, body: object = None, *, node: int = 0
    ) -> Answer:
        """Trade a token of an identity provider in."""
        request: dict[str, Any] = {} if body is None else {"json": body}
        path = f"/v1/tenants/{tenant}/token/exchange"
        return self.ask("POST", path, token=upstream, node=node, **request)

    def token(self, idp: IdpServer, subject: str, tenant: str, **claims: Any) -> str:
        """Give somebody's Felix token."""
        answer = self.exchange(idp.token(subject, **claims), tenant)
        assert answer.status == 200, answer
        token: str = answer.json["felix_token"]
        return token


def issuer_of(idp: IdpServer, **members: Any) -> dict[str, Any]:
    """Describe a provider as the API wants it."""
    return {
        "issuer": idp.issuer,
        "audiences": [AUDIENCE],
        "discovery_url": None,
        "jwks_url": idp.jwks_url,
        "claim_mappings": {"subject_claim": "sub", "groups_claim": "groups"},
    } | members


def principal_of(idp: IdpServer, subject: str) -> str:
    """Name somebody as rules do (contract, section 8.1)."""
    return hashlib.sha256(f"{idp.issuer}|{subject}".encode()).hexdigest()
