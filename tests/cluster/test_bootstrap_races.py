"""The bootstrap listeners of three real nodes, when much goes on at once.

That of fifty calls one wins is held by `tests/doors/test_bootstrap_race.py`; here a leader dies in
the middle, tokens are guessed and replaced, and the listener is not there unless it is asked for.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import pytest
import urllib3

from felix.cli.config import LISTENERS, AuthConfig, BootstrapConfig, Config
from felix.http.bootstrap import WRONG_PER_ADDRESS_MAX
from felix.proto.identity import IdentityView
from felix.proto.queries import GetTenantIdentity
from tests.support.cluster import HOST, Cluster, RunningNode, cluster, free_ports, is_free
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

CALLS = 50
TOKEN, BEFORE = "the-token-of-day-zero", "the-token-of-day-minus-one"
ISSUER = "https://idp.example.test"
_http = urllib3.PoolManager(retries=False, maxsize=CALLS)


def listening(token: str = TOKEN, previous: str = "") -> Callable[[Config], Config]:
    """Give each node a listener for bootstrap, where no other listener is to be."""
    taken: set[str] = set()

    def adjust(config: Config) -> Config:
        taken.update(getattr(one, name) for one in config.cluster.members for name in LISTENERS)
        addresses = (f"{HOST}:{free_ports(1)[0]}" for _ in itertools.count())
        address = next(one for one in addresses if one not in taken)
        taken.add(address)
        return msgspec.structs.replace(
            config,
            auth=AuthConfig(mode="required"),
            bootstrap=BootstrapConfig(
                enabled=True,
                bind_addr=address,
                token=token,
                previous_token=previous,
            ),
        )

    return adjust


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    """Three nodes with HTTP and bootstrap, in the middle of a change of the token."""
    with cluster(http=True, adjust=listening(previous=BEFORE)) as made:
        yield made


class Called(msgspec.Struct, frozen=True):
    """How a call ended; status 0: nobody was there, or nobody is any more."""

    status: int
    code: str = ""
    retry_after: str = ""


def initialize(
    node: RunningNode, tenant: str, admin: str, token: str = TOKEN, timeout_s: float = 15.0
) -> Called:
    """Ask a node to give a tenant its first administrator."""
    url = f"http://{node.config.bootstrap.bind_addr}/internal/bootstrap/tenants/{tenant}/initialize"
    body = {
        "display_name": tenant,
        "idp_issuers": [
            {"issuer": ISSUER, "audiences": ["felix"], "claim_mappings": {"subject_claim": "sub"}}
        ],
        "initial_admin_principals": [principal(admin)],
    }
    headers = {"X-Felix-Bootstrap-Token": token}
    try:
        said = _http.request("POST", url, json=body, headers=headers, timeout=timeout_s)
    except urllib3.exceptions.HTTPError:
        return Called(0)
    code = json.loads(said.data).get("code", "")
    return Called(said.status, code, said.headers.get("Retry-After", ""))


def principal(name: str) -> str:
    """Name somebody as rules do."""
    return hashlib.sha256(f"{ISSUER}|{name}".encode()).hexdigest()


def identity(node: RunningNode, tenant: str) -> IdentityView:
    """Read what a tenant has, linearizably."""
    found = node.ask(GetTenantIdentity(tenant_id=tenant)).result
    assert isinstance(found, IdentityView)
    return found


def check_one_winner(view: IdentityView, admins: dict[str, str]) -> str:
    """Make sure that a tenant has the administrator and the key of one call; name who that is."""
    (grouping,) = view.groupings
    (key,) = view.keys
    assert grouping.role == "role:tenant-admin"
    assert key.state == "active"
    assert [one.kid for one in view.sealed_keys] == [key.kid]
    assert len(view.issuers) == 1
    return admins[grouping.user]


@pytest.mark.parametrize("when", ["early", "midway", "late"])
def test_c10_a_leader_that_is_killed_in_the_middle_makes_no_second_winner(
    three: Cluster, when: str
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    tenant = f"killed-{when}"
    admins = {principal(f"admin-{n}"): f"admin-{n}" for n in range(CALLS)}
    nodes = [three.nodes[number % 3] for number in range(CALLS)]
    random.Random(seed).shuffle(nodes)
    leader = three.leader()
    wait_for = {"early": 0, "midway": 1, "late": CALLS // 2}[when]
    with ThreadPoolExecutor(CALLS) as pool:
        calls: list[Future[Called]] = [
            pool.submit(initialize, node, tenant, admin)
            for node, admin in zip(nodes, admins.values(), strict=True)
        ]
        eventually(lambda: sum(one.done() for one in calls) >= wait_for)
        leader.kill()
        first = [one.result() for one in calls]
    print(f"{when}: {Counter((one.status, one.code) for one in first)}")
    told = [name for name, one in zip(admins.values(), first, strict=True) if one.status == 200]
    assert len(told) <= 1
    assert {one.status for one in first} <= {0, 200, 409, 503}
    alive = three.others(leader)
    three.leader()
    # Whoever was told nothing, or that it is not known, asks again: that settles it.
    again = [
        initialize(alive[number % 2], tenant, name)
        for number, (name, one) in enumerate(zip(admins.values(), first, strict=True))
        if one.status in {0, 503}
    ]
    told += ["again"] * sum(one.status == 200 for one in again)
    assert {one.status for one in again} <= {200, 409}
    assert len(told) <= 1
    winner = check_one_winner(identity(alive[0], tenant), admins)
    # Nobody may have been told 200 and see another as the winner; who won may have been told 503.
    assert told in ([], [winner], ["again"])
    three.start([leader])
    three.wait_converged()
    assert check_one_winner(identity(leader, tenant), admins) == winner
    assert {initialize(node, tenant, "late").status for node in three.nodes} == {409}


def test_calls_that_repeat_with_their_key_all_hear_that_they_won(three: Cluster) -> None:
    """One client that retries at every node is not told 409 for its own success."""
    url = "/internal/bootstrap/tenants/repeated/initialize"
    body = {
        "display_name": "Repeated",
        "idp_issuers": [],
        "initial_admin_principals": [principal("admin")],
    }
    headers = {"X-Felix-Bootstrap-Token": TOKEN, "Idempotency-Key": "day-zero"}

    def call(node: RunningNode) -> tuple[int, str]:
        where = f"http://{node.config.bootstrap.bind_addr}{url}"
        said = _http.request("POST", where, json=body, headers=headers, timeout=15.0)
        return said.status, json.loads(said.data).get("kid", "")

    with ThreadPoolExecutor(12) as pool:
        answers = set(pool.map(call, three.nodes * 4))
    (key,) = identity(three.nodes[0], "repeated").keys
    assert answers == {(200, key.kid)}


def test_the_token_of_before_is_taken_at_every_node_and_a_third_one_at_none(
    three: Cluster,
) -> None:
    for number, node in enumerate(three.nodes):
        assert initialize(node, f"new-{number}", "admin").status == 200
        assert initialize(node, f"old-{number}", "admin", BEFORE).status == 200
        refused = initialize(node, f"third-{number}", "admin", "a-token-of-somebody-else")
        assert (refused.status, refused.code) == (401, "unauthorized")


def test_s8_wrong_tokens_are_counted_and_after_them_the_right_one_waits_as_well() -> None:
    with cluster(nodes=1, http=True, adjust=listening()) as one:
        (node,) = one.nodes
        with ThreadPoolExecutor(8) as pool:
            wrong = list(
                pool.map(lambda n: initialize(node, "acme", "mallory", f"guess-{n}"), range(40))
            )
        assert Counter(one.status for one in wrong) == {
            401: WRONG_PER_ADDRESS_MAX, 429: 40 - WRONG_PER_ADDRESS_MAX,
        }  # fmt: skip
        refused = initialize(node, "acme", "admin")
        assert (refused.status, refused.code) == (429, "overloaded")
        assert 1 <= int(refused.retry_after) <= 61
        # The public listener does not count along.
        assert node.http("GET", "/v1/system/health").status == 200


def test_without_the_switch_there_is_no_listener_and_the_public_one_knows_no_bootstrap() -> None:
    with cluster(nodes=1, http=True) as one:
        (node,) = one.nodes
        assert not BootstrapConfig().enabled
        assert is_free(node.config.bootstrap.bind_addr)
        path = "/internal/bootstrap/tenants/acme/initialize"
        said = node.http("POST", path, {}, {"X-Felix-Bootstrap-Token": TOKEN})
        assert said.status == 404
