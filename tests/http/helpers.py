"""What the tests of the HTTP face share: a client on a real catalog, and bodies that are fine."""

from __future__ import annotations

from typing import Any, Final

import structlog
from falcon.testing import Result, TestClient

from felix.core.catalog.catalog import CatalogLimits
from felix.http.app import App, create_app
from felix.http.settings import HttpSettings
from felix.proto.control_plane import ControlPlane
from felix.proto.identity import Refusal
from felix.storage.sealed import Sealer
from tests.support.local_control_plane import KEK, LocalControlPlane

TENANT: Final = {"tenant_id": "acme", "display_name": "ACME"}
NAMESPACE: Final = {"namespace": "billing", "display_name": "Billing"}
STREAM: Final = {
    "stream": "invoices",
    "kind": "Stream",
    "shards": 4,
    "retention": {"max_age_seconds": 86400},
    "consistency": "Leader",
    "delivery": "AtLeastOnce",
    "durable": True,
}
CACHE: Final = {"cache": "rates", "display_name": "Exchange rates"}
MEMBER: Final = {
    "member_id": "0123456789abcdef0123456789abcdef",
    "name": "n4",
    "addresses": {
        "peers": "127.0.0.1:17074",
        "rpc": "127.0.0.1:17071",
        "watch": "127.0.0.1:17072",
        "http": "127.0.0.1:17070",
        "metrics": "127.0.0.1:17073",
    },
}

TENANTS: Final = "/v1/tenants"
NAMESPACES: Final = "/v1/tenants/acme/namespaces"
STREAMS: Final = "/v1/tenants/acme/namespaces/billing/streams"
CACHES: Final = "/v1/tenants/acme/namespaces/billing/caches"
INVOICES: Final = f"{STREAMS}/invoices"
BROKERS: Final = "/v1/brokers"
FEEDS: Final = ("tenants", "namespaces", "streams", "caches")


class Kept:
    """Keeps refusals, in memory, where nothing writes them into the log behind a test's back."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []

    def add(self, refusal: Refusal) -> None:
        """Take one."""
        self.refusals.append(refusal)


class Client:
    """A test client that speaks of JSON."""

    def __init__(self, app: App) -> None:
        self._client = TestClient(app)
        self.request = self._client.simulate_request

    def get(self, path: str, **query: str | int) -> Result:
        """GET with a query."""
        params = {name: str(value) for name, value in query.items()}
        return self.request("GET", path, params=params)

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> Result:
        """POST a JSON body."""
        return self.request("POST", path, json=body, headers=headers)

    def patch(self, path: str, body: object, headers: dict[str, str] | None = None) -> Result:
        """PATCH with a JSON body."""
        return self.request("PATCH", path, json=body, headers=headers)

    def delete(
        self, path: str, headers: dict[str, str] | None = None, **query: str | int
    ) -> Result:
        """DELETE."""
        params = {name: str(value) for name, value in query.items()}
        return self.request("DELETE", path, params=params, headers=headers)

    def metadata(self) -> str:
        """Version and digest: the same before and after means that no object has changed."""
        status = self.get("/v1/cluster").json
        return f"{status['version']}/{status['digest']}"

    def log(self) -> int:
        """The last command applied: the same before and after means that none was proposed."""
        applied_index: int = self.get("/v1/cluster").json["applied_index"]
        return applied_index


def client_of(control_plane: ControlPlane, **settings: Any) -> Client:
    """Build a client on something that can be asked."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    old_ways = {"confirm_durable_deletes": False, "delete_grace_s": 0}
    given = HttpSettings(**{"is_open": True, **old_ways, **settings})
    return Client(create_app(control_plane, given, refusals=Kept()))


def empty_client(
    limits: CatalogLimits | None = None, sealer: Sealer | None = None, **settings: Any
) -> Client:
    """Build a client on an empty catalog."""
    plane = LocalControlPlane(limits=limits or CatalogLimits(), sealer=sealer)
    return client_of(plane, **settings)


def filled_client(
    limits: CatalogLimits | None = None, sealer: Sealer | None = None, **settings: Any
) -> Client:
    """Build a client on a catalog with one tenant, namespace, stream and cache."""
    client = empty_client(limits, sealer, **settings)
    fill(client)
    return client


def fill(client: Client) -> None:
    """Make one tenant, namespace, stream and cache."""
    for path, body in (
        (TENANTS, TENANT),
        (NAMESPACES, NAMESPACE),
        (STREAMS, STREAM),
        (CACHES, CACHE),
    ):
        assert client.post(path, body).status_code == 201


def register(client: Client, broker_id: str, **also: Any) -> dict[str, Any]:
    """Register a broker, and give what came back."""
    body = {
        "broker_id": broker_id,
        "address": f"{broker_id}.example.test:7000",
        "boot_id": f"boot-of-{broker_id}",
    }
    answer = client.post(BROKERS, body | also)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def placed_client(*broker_ids: str, **settings: Any) -> tuple[Client, LocalControlPlane]:
    """Build a client on the filled catalog, with brokers that hold its stream's shards."""
    plane = LocalControlPlane(sealer=Sealer((KEK,)))
    client = client_of(plane, **settings)
    for broker_id in broker_ids:
        register(client, broker_id)
    fill(client)
    plane.place_shards()
    return client, plane


def refused(result: Result) -> tuple[int, str]:
    """Give status and code of a refusal, whose envelope must be complete."""
    body = result.json
    assert set(body) - {"details"} == {"code", "message", "request_id"}
    assert body["request_id"] == result.headers["X-Request-Id"]
    assert body["message"]
    return result.status_code, body["code"]
