"""Identity providers that are down, slow, hostile or change their keys, at a real door."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.dev_site import Site, issuer_of
from tests.support.idp_server import JWKS_PATH, IdpServer, Mood, idp_server

BOUND_S = 12.0
"""An exchange is answered within this time, whatever a provider does."""
MEMORY_BYTES = 40 << 20
"""So much less than what a hostile provider sends."""
UNAVAILABLE = (503, "idp_unavailable")


def memory_of(pid: int) -> int:
    """Bytes that a process has in memory."""
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize(
    "mood",
    ["silent", "dripping", "dripping_headers", "redirecting", "huge", "huge_unannounced",
     "compressed", "failing", "not_json", "a_list", "deep", "garbage"],
)  # fmt: skip
def test_s9_a_provider_that_misbehaves_costs_a_bounded_time_and_nobody_else(
    site: Site, idp: IdpServer, mood: Mood
) -> None:
    with idp_server() as well:
        tenant, other = site.new_tenant(idp), site.new_tenant(well)
        idp.mood = mood
        before = [memory_of(node.pid) for node in site.ready.nodes]
        with ThreadPoolExecutor(4) as pool:
            began = time.monotonic()
            refused = pool.submit(site.exchange, idp.token("alice"), tenant)
            others = [site.exchange(well.token("alice"), other) for _ in range(10)]
            assert {answer.status for answer in others} == {200}
            assert refused.result().code == UNAVAILABLE
            assert time.monotonic() - began < BOUND_S
        grown = [
            memory_of(node.pid) - was for node, was in zip(site.ready.nodes, before, strict=True)
        ]
        assert max(grown) < MEMORY_BYTES
        assert not [path for path in idp.requests if "latest" in path]


def test_c13_a_provider_that_is_down_is_not_a_bad_token_and_is_asked_again_later(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_tenant(idp)
    idp.go_down()
    refused = site.exchange(idp.token("alice"), tenant)
    assert refused.code == UNAVAILABLE
    assert int(refused.headers["Retry-After"]) >= 1
    idp.come_up()


def test_known_keys_are_good_while_a_provider_is_down(site: Site, idp: IdpServer) -> None:
    tenant = site.new_tenant(idp)
    assert site.exchange(idp.token("alice"), tenant).status == 200
    idp.go_down()
    assert site.exchange(idp.token("alice"), tenant).status == 200
    idp.come_up()


def test_a_provider_may_change_its_keys_and_the_next_token_is_taken(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_tenant(idp)
    old = idp.token("alice")
    assert site.exchange(old, tenant).status == 200
    idp.rotate(keep_old=True)
    assert site.exchange(idp.token("alice"), tenant).status == 200
    assert site.exchange(old, tenant).status == 200
    assert idp.count(JWKS_PATH) == 2


def test_s9_a_flood_of_unknown_kids_asks_the_provider_little_and_hurts_nobody(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_tenant(idp)
    assert site.exchange(idp.token("alice"), tenant).status == 200
    asked = idp.count(JWKS_PATH)

    def guess(number: int) -> int:
        token = idp.token("alice", headers={"kid": f"made-up-{number}"})
        return site.exchange(token, tenant, node=number % 3).status

    with ThreadPoolExecutor(16) as pool:
        flood = pool.map(guess, range(150))
        fine = [site.exchange(idp.token("alice"), tenant).status for _ in range(20)]
        statuses = set(flood)
    assert statuses == {401}
    assert set(fine) == {200}
    # Each node fetches once more at once, and then again only when its cool-down has passed.
    assert idp.count(JWKS_PATH) - asked <= 2 * len(site.ready.nodes)


def test_a_discovery_document_of_somebody_else_is_not_believed(site: Site, idp: IdpServer) -> None:
    tenant = site.new_tenant(idp)
    admin = site.token(idp, "alice", tenant)
    with idp_server() as other:
        other.discovery = {"issuer": "https://somebody.example.test"}
        body = issuer_of(other, jwks_url=None)
        path = f"/v1/tenants/{tenant}/idp-issuers"
        refused = site.ask("POST", path, token=admin, json=body)
        assert refused.code == (400, "validation_error")
        assert refused.json["details"]["issuer"] == other.issuer
        assert refused.json["details"]["found_issuer"] == "https://somebody.example.test"
        assert site.exchange(other.token("alice"), tenant).code == (403, "forbidden")
        other.discovery = {}
        assert site.ask("POST", path, token=admin, json=body).status in {200, 201, 204}
        other.discovery = {"issuer": "https://somebody.example.test"}
        assert site.exchange(other.token("alice"), tenant, node=2).code == UNAVAILABLE


def test_tenants_that_trust_the_same_provider_share_its_keys(site: Site, idp: IdpServer) -> None:
    tenants = [site.new_tenant(idp) for _ in range(5)]
    for tenant in tenants:
        for _ in range(5):
            assert site.exchange(idp.token("alice"), tenant).status == 200
    assert idp.count(JWKS_PATH) == 1


def test_the_private_keys_are_nowhere_on_the_disks_in_clear(site: Site) -> None:
    # Whatever a node writes, it writes what it has sealed: a seed never stands beside its kid.
    data = Path(site.ready.admin_token_file).parent
    files = [path for path in data.rglob("*") if path.is_file() and "node-" in str(path)]
    assert files
    assert not [path for path in files if b"PRIVATE KEY" in path.read_bytes()]
