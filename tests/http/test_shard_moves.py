"""Whose moves of shards somebody sees and takes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from felix.proto.brokers import MovePlan, PlannedMove, StreamName
from felix.proto.commands import CreateNamespace, CreateStream
from felix.proto.permissions import OPERATOR_TENANT
from felix.proto.placement_commands import RegisterBroker, StartMoves
from felix.proto.resources import StreamSpec
from tests.http.helpers import refused
from tests.http.realm import Realm, realm

MOVES = "/v1/shard-moves"


class TwoTenants:
    """Moves of streams of acme and of other, by turns; all shards are on one of two brokers."""

    def __init__(self, world: Realm) -> None:
        self.world = world
        world.bootstrap("other", "bob")
        for broker_id in ("b1", "b2"):
            world.apply(RegisterBroker(broker_id=broker_id, address="h:1", boot_id="1"))
            if broker_id == "b1":
                for tenant_id in ("acme", "other"):
                    self._make_streams(tenant_id)
                world.plane.place_shards()
        self.olga = world.token("olga", tenant=OPERATOR_TENANT)
        self.alice = world.token("alice")
        for shard_id in range(3):
            for tenant_id in ("acme", "other"):
                self.order(tenant_id, "invoices", shard_id)

    def _make_streams(self, tenant_id: str) -> None:
        self.world.apply(CreateNamespace(tenant_id=tenant_id, namespace="billing"))
        for stream in ("invoices", "secrets"):
            name = StreamName(tenant_id, "billing", stream)
            spec = StreamSpec(shards=4)
            self.world.apply(CreateStream(**msgspec.structs.asdict(name), spec=spec))

    def order(self, tenant_id: str, stream: str, shard_id: int) -> None:
        body: dict[str, object] = {"tenant_id": tenant_id, "namespace": "billing"}
        body |= {"stream": stream}
        body |= {"shard_id": shard_id, "kind": "replica", "from_broker": "b1", "to_broker": "b2"}
        result = self.world.as_(self.olga, "POST", MOVES, json=body)
        assert result.status_code == 202, result.text

    def seen(self, token: str, **query: str) -> list[tuple[str, str, int]]:
        """Read all moves that somebody is shown, page by page."""
        found: list[tuple[str, str, int]] = []
        while True:
            page = self.world.as_(token, "GET", MOVES, params=query).json
            found += [(one["tenant_id"], one["stream"], one["shard_id"]) for one in page["items"]]
            if not page["next_page_token"]:
                return found
            query["page_token"] = page["next_page_token"]

    def ids(self, tenant_id: str, stream: str = "invoices") -> list[str]:
        items = self.world.as_(self.olga, "GET", MOVES).json["items"]
        return [
            one["move_id"]
            for one in items
            if (one["tenant_id"], one["stream"]) == (tenant_id, stream)
        ]

    def cancel(self, token: str, move_id: str) -> Any:
        return self.world.as_(token, "DELETE", f"{MOVES}/{move_id}")


@pytest.fixture
def two() -> Iterator[TwoTenants]:
    with realm() as made:
        yield TwoTenants(made)


def test_a_tenant_administrator_sees_the_moves_of_its_own_streams_only(two: TwoTenants) -> None:
    own = [("acme", "invoices", shard_id) for shard_id in (2, 1, 0)]
    assert two.seen(two.alice) == own
    for page_size in ("1", "2", "3"):
        assert two.seen(two.alice, page_size=page_size) == own
    assert two.seen(two.alice, broker="b1", under_way="true") == own
    (other,) = {one for one in two.seen(two.olga) if one[2] == 0 and one[0] == "other"}
    assert other not in two.seen(two.alice)
    page = two.world.as_(two.alice, "GET", MOVES, params={"page_size": "3"}).json
    assert not page["next_page_token"], "there is another move, and it is not told of"


def test_who_sees_one_stream_sees_its_moves_and_takes_none_back(two: TwoTenants) -> None:
    two.order("acme", "secrets", 0)
    reader = two.world.principal("reader")
    two.world.allow(reader, ("stream.subscribe", "stream:acme/billing/secrets"))
    token = two.world.token("reader")
    assert two.seen(token) == [("acme", "secrets", 0)]
    (move_id,) = two.ids("acme", "secrets")
    assert refused(two.cancel(token, move_id)) == (403, "forbidden")
    two.world.allow(reader, ("stream.manage", "stream:acme/billing/invoices"))
    token = two.world.token("reader")
    assert refused(two.cancel(token, move_id)) == (403, "forbidden")
    assert two.cancel(token, two.ids("acme")[0]).status_code == 204


def test_a_tenant_administrator_takes_its_own_moves_back_and_never_others(two: TwoTenants) -> None:
    own, others = two.ids("acme")[0], two.ids("other")[0]
    assert two.cancel(two.alice, own).status_code == 204
    over = two.cancel(two.alice, own)
    assert (refused(over), over.json["details"]) == ((409, "conflict"), {"reason": "over"})
    before = two.world.plane.digests
    hidden, none = two.cancel(two.alice, others), two.cancel(two.alice, "99-1")
    assert refused(hidden) == refused(none) == (404, "not_found")
    assert hidden.json["message"].replace(others, "99-1") == none.json["message"]
    assert two.world.plane.digests == before
    assert two.cancel(two.olga, others).status_code == 204


def test_what_drains_a_broker_is_not_a_tenants_to_stop(two: TwoTenants) -> None:
    name = StreamName("acme", "billing", "secrets")
    move = PlannedMove(stream=name, shard_id=0, kind="replica", from_broker="b1", to_broker="b2")
    version = two.world.plane.catalog.version
    plan = MovePlan(base_version=version, reason="drain", moves=(move,))
    two.world.apply(StartMoves(plan=plan))
    (move_id,) = two.ids("acme", "secrets")
    assert ("acme", "secrets", 0) in two.seen(two.alice)
    refusal = two.cancel(two.alice, move_id)
    assert refused(refusal) == (403, "forbidden")
    assert "cluster.manage" in refusal.json["message"]
    assert two.cancel(two.olga, move_id).status_code == 204
