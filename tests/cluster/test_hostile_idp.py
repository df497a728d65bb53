"""Identity providers that misbehave, against a real node: from HTTP to their sockets and back.

What each layer does by itself is tested where it is (`tests/actors/test_idp_cache.py`,
`tests/transport/test_outbound.py`); here it is the exchange that counts, and what it costs others.
"""

from __future__ import annotations

import base64
import itertools
import math
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import urllib3

from felix.cli.config import AuthConfig, Config, LimitsConfig
from felix.core.auth.documents import COOL_DOWN_S
from felix.proto.control_plane import TIMEOUT_S_DEFAULT
from felix.proto.identity import IdentityView, SealedKey
from felix.proto.queries import GetTenantIdentity
from felix.storage.sealed import Sealer
from felix.transport.outbound import BODY_BYTES_MAX
from tests.support.cluster import KEK, RunningNode, children_of, cluster, process_state
from tests.support.idp_server import LINK_LOCAL, IdpServer, Mood, idp_server
from tests.support.tenants import TenantOfNode
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

BOUND_S = TIMEOUT_S_DEFAULT + 1.0
"""In which every exchange must be answered, with what HTTP costs on a machine that is busy."""
FORGETFUL = "tests.support.forgetful_node"
names = (f"t{number}" for number in itertools.count())


def guarded(config: Config) -> Config:
    """Demand tokens, and let providers be on loopback."""
    auth = AuthConfig(mode="required", idp_private_addresses=True)
    return msgspec.structs.replace(config, auth=auth)


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    """A node with HTTP, for all tests of this file: each has tenants of its own."""
    limits = LimitsConfig(client_requests_per_s=0)
    with cluster(nodes=1, http=True, limits=limits, adjust=guarded) as one:
        yield one.nodes[0]


@pytest.fixture
def idp() -> Iterator[IdpServer]:
    """The provider that misbehaves."""
    with idp_server() as made:
        yield made


@pytest.fixture
def tenant(node: RunningNode, idp: IdpServer) -> TenantOfNode:
    """The tenant whose provider it is."""
    return TenantOfNode(node, next(names), idp)


@pytest.fixture(scope="module")
def neighbour(node: RunningNode) -> Iterator[TenantOfNode]:
    """A tenant of somebody else, with a provider that is well."""
    with idp_server() as good:
        made = TenantOfNode(node, next(names), good)
        assert made.works()
        yield made


def fetches(node: RunningNode) -> dict[str, int]:
    """Count what the node has asked of providers, by result."""
    name = "felix_idp_fetches_total"
    return {
        sample.removeprefix(f'{name}{{result="').removesuffix('"}'): int(value)
        for sample, value in node.metrics().items()
        if sample.startswith(f"{name}{{")
    }


def peak_kb(pid: int) -> int:
    """Read the most memory that a process ever had."""
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


# --- away and slow ------------------------------------------------------------------------------


def test_a_provider_that_is_down_is_503_at_once_and_works_again_when_it_is_back(
    tenant: TenantOfNode, neighbour: TenantOfNode
) -> None:
    tenant.idp.go_down()
    for _ in range(3):
        refused = tenant.exchange()
        assert (refused.status, refused.code) == (503, "idp_unavailable")
        assert int(refused.retry_after) >= 1
        assert refused.took_s < BOUND_S / 2
    assert neighbour.works()
    tenant.idp.come_up()
    eventually(tenant.works, 15)
    assert tenant.idp.count("/keys") == 1


@pytest.mark.parametrize("mood", ["silent", "dripping", "dripping_headers"])
def test_a_slow_provider_is_answered_within_the_bound_and_holds_up_no_other_tenant(
    tenant: TenantOfNode, neighbour: TenantOfNode, mood: Mood
) -> None:
    tenant.idp.mood = mood
    hold_up([tenant], neighbour)


def test_a_slow_provider_of_many_tenants_holds_up_no_other_tenant(
    node: RunningNode, idp: IdpServer, neighbour: TenantOfNode
) -> None:
    idp.mood = "dripping"
    hold_up([TenantOfNode(node, next(names), idp) for _ in range(24)], neighbour)


def hold_up(slow: list[TenantOfNode], neighbour: TenantOfNode) -> None:
    """Ask for tokens where the provider is slow, and hold what that costs against the bounds."""
    idp, is_over = slow[0].idp, threading.Event()
    upstream = idp.token("alice")
    with ThreadPoolExecutor(48) as crowd:
        calls = [crowd.submit(slow[n % len(slow)].exchange, upstream) for n in range(48)]

        def watch() -> list[float]:
            took = []
            while not is_over.is_set():
                answer = neighbour.exchange()
                assert answer.status == 200
                took.append(answer.took_s)
            return took

        watcher = ThreadPoolExecutor(1).submit(watch)
        try:
            answers = [one.result() for one in calls]
        finally:
            is_over.set()
    assert {(one.status, one.code) for one in answers} == {(503, "idp_unavailable")}
    assert max(one.took_s for one in answers) < BOUND_S
    took = watcher.result()
    print(f"{len(took)} exchanges of the neighbour, the slowest took {max(took):.2f} s")
    assert max(took) < 1.5
    assert idp.count("/keys") == 1


# --- sending elsewhere, and sending too much ----------------------------------------------------


@pytest.mark.parametrize("scheme", ["link-local", "file", "ftp", "loopback"])
def test_s9_a_redirect_is_never_followed(tenant: TenantOfNode, scheme: str) -> None:
    with idp_server() as trap:
        trap.rotate()
        tenant.idp.mood = "redirecting"
        tenant.idp.redirect_to = {
            "link-local": LINK_LOCAL, "file": "file:///etc/passwd", "ftp": "ftp://127.0.0.1/keys",
            "loopback": trap.jwks_url,
        }[scheme]  # fmt: skip
        before = fetches(tenant.node)
        refused = tenant.exchange()
        assert (refused.status, refused.code) == (503, "idp_unavailable")
        assert refused.took_s < BOUND_S / 2
        after = fetches(tenant.node)
        assert {name: after[name] - before.get(name, 0) for name in after} == dict.fromkeys(
            after, 0
        ) | {"redirect": 1}
        assert tenant.idp.requests == ["/keys"]
        assert trap.requests == []


@pytest.mark.parametrize(
    "url",
    [LINK_LOCAL, "https://169.254.169.254/keys", "file:///etc/passwd", "ftp://127.0.0.1/keys",
     "https://[::ffff:169.254.169.254]/keys", "http://alice:secret@127.0.0.1/keys"],
)  # fmt: skip
def test_s9_discovery_cannot_send_the_node_to_where_nobody_is_asked(
    node: RunningNode, idp: IdpServer, url: str
) -> None:
    idp.discovery = {"jwks_uri": url}
    tenant = TenantOfNode(node, next(names), idp, by_discovery=True)
    before = fetches(node)
    refused = tenant.exchange()
    assert (refused.status, refused.code) == (503, "idp_unavailable")
    after = fetches(node)
    gained = {name: after[name] - before.get(name, 0) for name in after}
    assert gained["ok"] == 1
    assert gained.get("forbidden_address", 0) + gained.get("bad_url", 0) == 1
    assert sum(gained.values()) == 2
    assert idp.requests == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize("mood", ["huge", "huge_unannounced"])
def test_fifty_megabytes_are_not_read(node: RunningNode, idp: IdpServer, mood: Mood) -> None:
    idp.mood = mood
    tenants = [TenantOfNode(node, next(names), idp) for _ in range(2)]
    everybody = [node.pid, *children_of(node.pid)]
    before = [peak_kb(pid) for pid in everybody]
    for one in tenants:
        refused = one.exchange()
        assert (refused.status, refused.code) == (503, "idp_unavailable")
        assert refused.took_s < BOUND_S
    for pid, kb in zip(everybody, before, strict=True):
        assert peak_kb(pid) - kb < 16 * BODY_BYTES_MAX // 1024


# --- keys ---------------------------------------------------------------------------------------


def test_of_ten_thousand_whole_keys_none_is_read(tenant: TenantOfNode) -> None:
    whole = tenant.idp.jwks()["keys"][0]
    tenant.idp.extra_keys = [{**whole, "kid": f"k{number}"} for number in range(10_000)]
    refused = tenant.exchange()
    assert (refused.status, refused.code) == (503, "idp_unavailable")


def test_among_ten_thousand_little_keys_the_first_ones_count(tenant: TenantOfNode) -> None:
    """They fit into what is read; of them a hundred are looked at, the provider's own first."""
    tenant.idp.extra_keys = [{"kid": f"k{number}"} for number in range(10_000)]
    answer = tenant.exchange()
    assert answer.status == 200
    assert answer.took_s < BOUND_S / 2
    named = tenant.idp.token("alice", headers={"kid": "k9999"})
    refused = tenant.exchange(named)
    assert (refused.status, refused.code) == (401, "unauthorized")


def test_a_rotated_key_works_after_one_more_fetch_and_the_old_one_no_longer(
    tenant: TenantOfNode,
) -> None:
    old = tenant.idp.token("alice")
    assert tenant.exchange(old).status == 200
    tenant.idp.rotate()
    assert tenant.works()
    assert tenant.idp.count("/keys") == 2
    refused = tenant.exchange(old)
    assert (refused.status, refused.code) == (401, "unauthorized")
    assert tenant.works()
    assert tenant.idp.count("/keys") == 2


def test_s9_a_flood_of_unknown_kids_costs_a_few_fetches_and_legitimate_tokens_nothing(
    tenant: TenantOfNode,
) -> None:
    good = tenant.idp.token("alice")
    assert tenant.exchange(good).status == 200
    begun = time.monotonic()
    is_over = threading.Event()

    def flood() -> int:
        count = 0
        while not is_over.is_set():
            forged = tenant.idp.token("alice", headers={"kid": uuid.uuid4().hex})
            refused = tenant.exchange(forged)
            assert (refused.status, refused.code) == (401, "unauthorized")
            count += 1
        return count

    with ThreadPoolExecutor(6) as crowd:
        floods = [crowd.submit(flood) for _ in range(6)]
        try:
            answers = [tenant.exchange(good) for _ in range(100)]
            tenant.idp.rotate()
            eventually(tenant.works, COOL_DOWN_S + 5)
        finally:
            is_over.set()
        forged = sum(one.result() for one in floods)
    seconds = time.monotonic() - begun
    print(f"{forged} forged tokens in {seconds:.1f} s, {tenant.idp.count('/keys')} fetches")
    assert {one.status for one in answers} == {200}
    assert forged > 100
    assert tenant.idp.count("/keys") <= 2 + math.ceil(seconds / COOL_DOWN_S)


def test_known_keys_outlive_the_provider(tenant: TenantOfNode) -> None:
    assert tenant.works()
    tenant.idp.go_down()
    assert tenant.works()
    forged = tenant.idp.token("alice", headers={"kid": "another"})
    refused = tenant.exchange(forged)
    assert (refused.status, refused.code) == (401, "unauthorized")
    assert refused.took_s < BOUND_S
    assert tenant.works()


def test_keys_of_a_provider_that_stays_away_are_good_for_a_bounded_time(idp: IdpServer) -> None:
    """With seconds in place of the day of `STALE_S_MAX`; `tests/actors` holds the day itself."""
    with cluster(nodes=1, http=True, adjust=guarded, module=FORGETFUL) as one:
        tenant = TenantOfNode(one.nodes[0], "acme", idp)
        assert tenant.works()
        idp.go_down()
        assert tenant.works()
        eventually(lambda: not tenant.works(), 30)
        refused = tenant.exchange()
        assert (refused.status, refused.code) == (503, "idp_unavailable")
        idp.come_up()
        eventually(tenant.works, 60)


# --- who it says it is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled", [lambda issuer: issuer + "/", lambda _: "https://idp.example.test"]
)
def test_s10_a_discovery_document_of_another_issuer_is_refused(
    node: RunningNode, idp: IdpServer, spelled: Callable[[str], str]
) -> None:
    idp.discovery = {"issuer": spelled(idp.issuer)}
    tenant = TenantOfNode(node, next(names), idp, by_discovery=True)
    refused = tenant.exchange()
    assert (refused.status, refused.code) == (503, "idp_unavailable")
    assert idp.count("/keys") == 0


def test_two_tenants_that_trust_one_provider_share_what_is_known_of_it(
    node: RunningNode, idp: IdpServer
) -> None:
    urls = node.metrics()["felix_idp_cache_urls"]
    tenants = [TenantOfNode(node, next(names), idp, by_discovery=True) for _ in range(2)]
    with ThreadPoolExecutor(8) as crowd:
        answers = [crowd.submit(tenants[number % 2].exchange) for number in range(16)]
        assert {one.result().status for one in answers} == {200}
    assert sorted(idp.requests) == ["/.well-known/openid-configuration", "/keys"]
    assert node.metrics()["felix_idp_cache_urls"] == urls + 2
    # One that knows the provider's key says nothing about the other's tenant.
    only_here = tenants[0].exchange().token
    path = f"/v1/tenants/{tenants[1].name}/rbac/policies"
    headers = {"Authorization": f"Bearer {only_here}"}
    assert node.http("GET", path, headers=headers).status == 401


# --- workers that end ---------------------------------------------------------------------------


def test_a_worker_that_is_killed_leaves_no_secret_behind_and_the_next_one_goes_on(
    tenant: TenantOfNode,
) -> None:
    upstream = tenant.idp.token("alice")
    traded = tenant.exchange(upstream, refresh=True)
    assert traded.status == 200
    node = tenant.node
    workers = [worker for http in children_of(node.pid) for worker in children_of(http)]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(process_state(pid) in "XZ" for pid in workers))
    eventually(lambda: answers(tenant), 30)
    view = node.ask(GetTenantIdentity(tenant_id=tenant.name)).result
    assert isinstance(view, IdentityView)
    seeds = [seed_of(one) for one in view.sealed_keys]
    _, _, refresh_secret = traded.refresh_token.rpartition("_")
    secrets = [
        text.encode()
        for text in (upstream, traded.token, refresh_secret, traded.token.rpartition(".")[2])
    ] + [spelled for seed in seeds for spelled in spellings(seed)]
    folder = node.config_file.parent
    files = [one for one in folder.rglob("*") if one.is_file() and one != node.config_file]
    assert files
    for one in files:
        found = one.read_bytes()
        assert not [secret for secret in secrets if secret in found], f"in {one.name}"


def answers(tenant: TenantOfNode) -> bool:
    """Whether alice gets a token, of a listener that may not be there yet."""
    try:
        return tenant.works()
    except urllib3.exceptions.HTTPError:
        return False


def seed_of(key: SealedKey) -> bytes:
    """Decrypt the private half of a key."""
    sealer = Sealer((base64.b64decode(KEK),))
    return sealer.open(key).private_bytes_raw()


def spellings(secret: bytes) -> list[bytes]:
    """Write a secret in the ways that files could have it."""
    return [secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"="),
            base64.urlsafe_b64encode(secret).rstrip(b"=")]  # fmt: skip
