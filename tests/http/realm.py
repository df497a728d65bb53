"""What the tests of identity share: a tenant, an identity provider, and people with real tokens."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from falcon.testing import Result

from felix.http.app import create_app
from felix.http.settings import HttpSettings
from felix.identity.settings import IdentitySettings
from felix.proto.commands import (
    AnyCommand,
    BootstrapTenant,
    ChangeGroupings,
    ChangePolicies,
    NewIssuer,
)
from felix.proto.control_plane import Answered, Call
from felix.proto.identity import Assignment, IssuerProbe, Jwks, Rule
from felix.proto.permissions import OPERATOR_TENANT
from felix.proto.queries import GetIssuerKeys, ProbeIssuer
from felix.proto.rpc import AnyRequest
from tests.http.helpers import Client, Kept
from tests.support.idp_server import IdpServer, idp_server
from tests.support.local_control_plane import LocalControlPlane

AUDIENCE: Final = "felix-controlplane"
KEK: Final = base64.b64encode(b"k" * 32).decode()
"""What private keys are encrypted with."""
ACME: Final = "/v1/tenants/acme"
POLICIES: Final = f"{ACME}/rbac/policies"
GROUPINGS: Final = f"{ACME}/rbac/groupings"
ISSUERS: Final = f"{ACME}/idp-issuers"
KEYS: Final = f"{ACME}/signing-keys"
JWKS: Final = f"{ACME}/.well-known/jwks.json"


class PlaneWithIdp(LocalControlPlane):
    """A control plane that knows the keys of one identity provider, as a node's cache would."""

    def __init__(self, idp: IdpServer) -> None:
        super().__init__()
        self.idp = idp
        self.probe = IssuerProbe(found_issuer=idp.issuer, jwks_url=idp.jwks_url, keys=1)
        self.probed: list[ProbeIssuer] = []

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Ask and get the answer at once."""
        match message:
            case GetIssuerKeys():
                document = json.dumps(self.idp.jwks()).encode()
                return self._answered(Jwks(document=document, age_ms=0))
            case ProbeIssuer():
                self.probed.append(message)
                return self._answered(self.probe)
            case _:
                return super().ask(message, call)


class Realm:
    """A tenant `acme` whose administrator is alice, an operators' tenant with olga, and the API."""

    def __init__(self, idp: IdpServer, refusals: Kept | None = None, **settings: Any) -> None:
        self.idp = idp
        self.plane = PlaneWithIdp(idp)
        given = {"idp_private_addresses": True} | settings
        identity = IdentitySettings(kek=KEK, cache_s=0.0)
        self.settings = HttpSettings(identity=identity, **given)
        self.app = create_app(self.plane, self.settings, refusals=refusals)
        self.client = Client(self.app)
        self.bootstrap("acme", "alice")
        self.bootstrap(OPERATOR_TENANT, "olga")

    def bootstrap(self, tenant_id: str, admin: str) -> None:
        """Make a tenant that trusts the identity provider."""
        self.apply(
            BootstrapTenant(
                tenant_id=tenant_id,
                display_name=tenant_id,
                issuers=(
                    NewIssuer(
                        issuer=self.idp.issuer,
                        audiences=(AUDIENCE,),
                        jwks_url=self.idp.jwks_url,
                        groups_claim="groups",
                    ),
                ),
                admins=(self.principal(admin),),
            )
        )

    def apply(self, command: AnyCommand) -> None:
        """Change the state behind the API's back."""
        self.plane.ask(command)

    def allow(self, subject: str, *rules: tuple[str, str]) -> None:
        """Give somebody permissions, as pairs of action and object, by rules of their own."""
        added = tuple(Rule(subject, target, action) for action, target in rules)
        self.apply(ChangePolicies(tenant_id="acme", add=added))

    def assign(self, user: str, role: str) -> None:
        """Give somebody a role."""
        self.apply(ChangeGroupings(tenant_id="acme", add=(Assignment(user, role),)))

    def principal(self, subject: str) -> str:
        """Name somebody as rules do."""
        return hashlib.sha256(f"{self.idp.issuer}|{subject}".encode()).hexdigest()

    def exchange(self, upstream: str | None, body: object = None, tenant: str = "acme") -> Result:
        """Trade a token of the identity provider in."""
        headers = {} if upstream is None else {"Authorization": f"Bearer {upstream}"}
        path = f"/v1/tenants/{tenant}/token/exchange"
        if body is None:
            return self.client.request("POST", path, headers=headers)
        return self.client.post(path, body, headers)

    def token(self, subject: str, *, tenant: str = "acme", **claims: Any) -> str:
        """Give somebody's Felix token."""
        result = self.exchange(self.idp.token(subject, **claims), tenant=tenant)
        assert result.status_code == 200, result.text
        token: str = result.json["felix_token"]
        return token

    def powerless(self) -> str:
        """Give a token of somebody who may do nothing any more."""
        noone = self.principal("noone")
        rule = Rule(noone, "stream:acme/billing/*", "stream.publish")
        self.apply(ChangePolicies(tenant_id="acme", add=(rule,)))
        token = self.token("noone")
        self.apply(ChangePolicies(tenant_id="acme", remove=(rule,)))
        return token

    def as_(self, token: str | None, method: str, path: str, **request: Any) -> Result:
        """Ask with a token."""
        headers = request.pop("headers", {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.client.request(method, path, headers=headers, **request)


@contextmanager
def realm(**settings: Any) -> Iterator[Realm]:
    """Make a realm that lasts as long as the block."""
    with idp_server() as idp:
        yield Realm(idp, **settings)
