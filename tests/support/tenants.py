"""Tenants of a real node whose identity provider the test plays itself."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import msgspec
import urllib3

from felix.proto.commands import BootstrapTenant, NewIssuer
from tests.support.cluster import RunningNode
from tests.support.idp_server import IdpServer

AUDIENCE = "felix-controlplane"


class Traded(msgspec.Struct, frozen=True):
    """How an exchange ended."""

    status: int
    code: str
    """Empty if it went well."""
    took_s: float
    token: str = ""
    refresh_token: str = ""
    retry_after: str = ""


class TenantOfNode:
    """A tenant with one administrator, alice, whom an identity provider of the test vouches for."""

    def __init__(
        self, node: RunningNode, name: str, idp: IdpServer, *, by_discovery: bool = False
    ) -> None:
        """`by_discovery`: the node has to find out where the provider's keys are."""
        self.node = node
        self.name = name
        self.idp = idp
        issuer = NewIssuer(
            issuer=idp.issuer,
            audiences=(AUDIENCE,),
            jwks_url=None if by_discovery else idp.jwks_url,
        )
        alice = hashlib.sha256(f"{idp.issuer}|alice".encode()).hexdigest()
        node.ask(
            BootstrapTenant(tenant_id=name, display_name=name, issuers=(issuer,), admins=(alice,))
        )

    def exchange(self, upstream: str | None = None, **body: Any) -> Traded:
        """Trade a token of the provider in; by default alice's."""
        headers = {"Authorization": f"Bearer {upstream or self.idp.token('alice')}"}
        path = f"/v1/tenants/{self.name}/token/exchange"
        begun = time.monotonic()
        response = self.node.http("POST", path, body or None, headers, timeout_s=30.0)
        return _traded(response, time.monotonic() - begun)

    def works(self) -> bool:
        """Whether alice gets a token."""
        return self.exchange().status == 200


def _traded(response: urllib3.BaseHTTPResponse, took_s: float) -> Traded:
    said = json.loads(response.data)
    return Traded(
        status=response.status,
        code=said.get("code", ""),
        took_s=took_s,
        token=said.get("felix_token", ""),
        refresh_token=said.get("refresh_token", ""),
        retry_after=response.headers.get("Retry-After", ""),
    )
