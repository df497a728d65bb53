"""The first operator of a cluster on one machine: made by bootstrap, as anybody's first one is.

Everything goes the way that it goes in production: an identity provider vouches, bootstrap names
the first administrator, and tokens come of the exchange.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec
import urllib3

from felix.cli.dev_idp import DevIdp
from felix.proto.permissions import OPERATOR_TENANT

TENANT: Final = "dev"
SUBJECT: Final = "admin"
AUDIENCE: Final = "felix-controlplane"
TRIES_S: Final = 20.0
TRY_AGAIN_S: Final = 0.1

_http: Final = urllib3.PoolManager(retries=False, timeout=5.0)


class IdentityError(Exception):
    """The first operator could not be made."""


class _Issued(msgspec.Struct):
    felix_token: str
    expires_in: int


def issuer_body(idp: DevIdp) -> dict[str, object]:
    """Describe the identity provider as issuers are described over HTTP."""
    return {
        "issuer": idp.issuer,
        "audiences": [AUDIENCE],
        "claim_mappings": {"subject_claim": "sub", "groups_claim": "groups"},
    }


def settle(bootstrap: str, http: str, token: str, idp: DevIdp) -> tuple[str, str]:
    """Make sure that the provider's administrator runs the cluster and a tenant of it.

    Gives a token for each. `bootstrap` and `http` are `host:port`. Raises: IdentityError.
    """
    for tenant in (OPERATOR_TENANT, TENANT):
        body = {
            "display_name": tenant,
            "idp_issuers": [issuer_body(idp)],
            "initial_admin_principals": [{"issuer": idp.issuer, "subject": SUBJECT}],
        }
        url = f"http://{bootstrap}/internal/bootstrap/tenants/{tenant}/initialize"
        _ask(url, {"X-Felix-Bootstrap-Token": token}, body, done=(200, 409))
    return _token(http, OPERATOR_TENANT, idp), _token(http, TENANT, idp)


def _token(http: str, tenant: str, idp: DevIdp) -> str:
    upstream = idp.mint(SUBJECT, (), AUDIENCE, "ES256")
    url = f"http://{http}/v1/tenants/{tenant}/token/exchange"
    answer = _ask(url, {"Authorization": f"Bearer {upstream}"}, {}, done=(200,))
    return msgspec.json.decode(answer, type=_Issued).felix_token


def _ask(url: str, headers: dict[str, str], body: object, done: tuple[int, ...]) -> bytes:
    """Post, again while the cluster has no leader."""
    deadline = time.monotonic() + TRIES_S
    while True:
        try:
            answer = _http.request("POST", url, json=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            problem = str(error)
        else:
            if answer.status in done:
                return answer.data
            problem = f"{answer.status}: {answer.data.decode(errors='replace')}"
            if answer.status != 503:
                raise IdentityError(f"{url}: {problem}")
        if time.monotonic() > deadline:
            raise IdentityError(f"{url}: {problem}")
        time.sleep(TRY_AGAIN_S)
