"""What a node does without a quorum, and what a client may rely on when it repeats itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from felix.cli.config import LimitsConfig
from felix.proto.commands import CreateStream
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.queries import Listing, ListStreams
from felix.proto.resources import Stream
from felix.transport.rpc_client import RpcClient
from tests.support.cluster import NAMESPACE, TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TIMEOUT_S = 1.5
DEADLINE_S = TIMEOUT_S + 2.0
"""The node answers within its timeout; the rest is for a busy machine."""
STREAMS = f"/v1/tenants/{TENANT}/namespaces/{NAMESPACE}/streams"
IN_FLIGHT = 200


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster(http=True, limits=LimitsConfig(timeout_s=TIMEOUT_S)) as running:
        running.make_namespace()
        yield running


@pytest.fixture(autouse=True)
def all_up(three: Cluster) -> None:
    three.start()


def a_stream(name: str, shards: int = 1) -> dict[str, object]:
    return {"stream": name, "shards": shards, "durability": "durable"}


def test_without_a_quorum_a_node_refuses_in_time_and_still_says_what_it_has(three: Cluster) -> None:
    node, *killed = three.nodes
    assert node.http("POST", STREAMS, a_stream("before")).status == 201
    three.wait_converged()  # so that this node has it too
    for other in killed:
        other.kill()
    eventually(lambda: node.probe("/ready").status == 503)
    assert node.probe("/ready").data.decode() in {
        "no leader is known",
        "the leader is not heard by a quorum",
    }
    for method, path, body in (
        ("POST", STREAMS, a_stream("during")),
        ("DELETE", f"{STREAMS}/before", None),
        ("GET", f"{STREAMS}/before", None),
        ("GET", STREAMS, None),
    ):
        begun = time.monotonic()
        refused = node.http(method, path, body)
        assert time.monotonic() - begun < DEADLINE_S, (method, path)
        assert refused.status == 503, (method, path, refused.data)
        assert json.loads(refused.data)["code"] in {"no_leader", "deadline_exceeded"}
        assert int(refused.headers["Retry-After"]) >= 1
    stale = node.http("GET", f"{STREAMS}/before?consistency=stale")
    assert stale.status == 200
    assert int(stale.headers["X-Felix-Age-Ms"]) > 0
    assert node.probe("/live").status == 200
    assert node.http("GET", "/v1/system/health").status == 200
    cluster_now = json.loads(node.http("GET", "/v1/cluster").data)
    assert cluster_now["node_id"] == node.id
    assert cluster_now["leader_id"] is None

    three.start()
    assert node.http("POST", STREAMS, a_stream("after")).status == 201
    names = {item["stream"] for item in json.loads(node.http("GET", STREAMS).data)["items"]}
    assert {"before", "after"} <= names


def test_a_write_repeated_after_the_leaders_death_has_one_effect_and_one_answer(
    three: Cluster,
) -> None:
    leader = three.leader()
    other, another = three.others(leader)
    key = {"Idempotency-Key": "order-4711"}
    first = leader.http("POST", STREAMS, a_stream("once"), key)
    leader.kill()
    three.wait_ready()
    again = other.http("POST", STREAMS, a_stream("once"), key)
    assert first.status == again.status == 201
    assert json.loads(first.data) == json.loads(again.data)
    assert first.headers["X-Felix-Version"] == again.headers["X-Felix-Version"]
    changed = another.http("POST", STREAMS, a_stream("once", shards=2), key)
    assert changed.status == 422
    assert json.loads(changed.data)["code"] == "key_reused"
    assert other.http("POST", STREAMS, a_stream("once")).status == 409


def test_writes_that_were_under_way_when_the_leader_died_are_repeated_without_harm(
    three: Cluster,
) -> None:
    leader = three.leader()
    before = three.wait_converged().version
    commands = {
        f"flight-{number}": CreateStream(
            tenant_id=TENANT, namespace=NAMESPACE, stream=f"flight-{number}"
        )
        for number in range(IN_FLIGHT)
    }
    first = answers_until_death(leader, commands)
    three.wait_ready()
    assert len(first) < IN_FLIGHT, "the leader was killed too late"
    client = RpcClient([node.rpc for node in three.others(leader)])
    try:
        second = {name: ask(client, name, command) for name, command in commands.items()}
    finally:
        client.close()
    assert first.items() <= second.items(), "an acknowledged write was answered otherwise"
    three.start()
    assert three.wait_converged().version == before + IN_FLIGHT
    for node in three.nodes:
        assert streams_on(node, "flight-*") == second


def answers_until_death(
    leader: RunningNode, commands: dict[str, CreateStream]
) -> dict[str, Stream]:
    """Send everything at once and kill the leader after the first answer; give all answers."""
    client = RpcClient(leader.rpc)
    answers: dict[str, Stream] = {}
    try:
        futures = {
            name: client.submit(command, Call(timeout_s=2, idempotency_key=f"key-{name}"))
            for name, command in commands.items()
        }
        next(iter(futures.values())).get(timeout=10)
        leader.kill()
        for name, future in futures.items():
            try:
                result = future.get(timeout=10).result
            except FelixError:
                continue
            assert isinstance(result, Stream)
            answers[name] = result
    finally:
        client.close()
    return answers


def ask(client: RpcClient, name: str, command: CreateStream) -> Stream:
    result = client.ask(command, Call(timeout_s=20, idempotency_key=f"key-{name}")).result
    assert isinstance(result, Stream)
    return result


def streams_on(node: RunningNode, pattern: str) -> dict[str, Stream]:
    query = ListStreams(tenant_id=TENANT, namespace=NAMESPACE, filter=pattern)
    page = node.ask(query).result
    assert isinstance(page, Listing)
    return {item.stream: item for item in page.items if isinstance(item, Stream)}
