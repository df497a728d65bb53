"""`felix-admin` on real nodes: a cluster that grows, changes hands, shrinks, and heals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
from click.testing import CliRunner

from felix.cli.admin import main
from felix.cli.config import LISTENERS, ClusterConfig, ListenConfig, MemberConfig, RaftTimings
from tests.cli.admin_page import COMMANDS, run
from tests.support.cluster import HOST, Cluster, RunningNode, cluster, free_ports
from tests.support.keys import KeyRing
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

HANDOVERS = 10
"""The answer of the old leader and the news of the new one arrive in either order."""


@pytest.fixture
def three() -> Iterator[Cluster]:
    with cluster(http=True, raft=RaftTimings(promote_after_ms=500)) as running:
        yield running


def admin(three: Cluster, command: str) -> tuple[dict[str, Any], str]:
    """Run `felix-admin cluster ...`; it must work. Give the result, and what was said."""
    endpoints = " ".join(node.config.listen.http for node in three.nodes)
    runner = CliRunner(env={"FELIX_ADMIN_ENDPOINTS": endpoints})
    result = runner.invoke(main, ["cluster", *command.split(), "-o", "json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


def outsider(three: Cluster, name: str) -> RunningNode:
    """Start a node on an empty data directory that waits until it is taken in."""
    node = outsider_of(three, name)
    eventually(lambda: describes_itself(node), 60)
    return node


def outsider_of(three: Cluster, name: str, keys: KeyRing | None = None) -> RunningNode:
    """Start it, with keys where the others have some, and do not wait."""
    first = three.nodes[0].config
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    addresses = {listener: f"{HOST}:{port}" for listener, port in ports.items()}
    folder = three.nodes[0].log.parent.parent / name
    members = (*first.cluster.members, MemberConfig(name=name, **addresses))
    node = RunningNode(
        msgspec.structs.replace(
            first,
            name=name,
            data_dir=str(folder / "data"),
            listen=ListenConfig(**addresses),
            cluster=ClusterConfig(name=first.cluster.name, bootstrap="existing", members=members),
        ),
        folder,
    )
    if keys is not None:
        keys.give_to(node)
    three.nodes.append(node)
    node.start()
    return node


def describes_itself(node: RunningNode) -> bool:
    return [one["role"] for one in seen_by(node)] == ["outsider"]


def seen_by(node: RunningNode) -> list[dict[str, Any]]:
    """The members that a node alone knows; none while its HTTP API is not up."""
    try:
        answer = node.http("GET", "/v1/cluster?consistency=stale")
    except urllib3.exceptions.HTTPError:
        return []
    found: list[dict[str, Any]] = answer.json()["members"] if answer.status == 200 else []
    return found


def test_a_cluster_grows_changes_hands_and_lets_its_leader_go(three: Cluster) -> None:
    three.make_namespace()
    node = outsider(three, "n4")
    view, said = admin(three, f"add n4 --node {node.config.listen.http}")
    assert said.splitlines()[-1] == "n4 is a voter"
    assert {one["name"] for one in view["members"] if one["voter"]} == {"n1", "n2", "n3", "n4"}
    three.wait_converged()

    view, _ = admin(three, "transfer n4")
    assert view["leader_id"] == node.id

    view, said = admin(three, "remove n4 --yes")
    assert said.splitlines()[-1] == "n4 has left"
    assert [one["name"] for one in view["members"]] == ["n1", "n2", "n3"]
    assert node.wait() != 0, "it does not go on as if nothing had happened"


def test_a_handover_asked_of_a_follower_is_answered_as_done(three: Cluster) -> None:
    for _ in range(HANDOVERS):
        leader = three.leader()
        answer = three.others(leader)[0].http("POST", "/v1/cluster/leadership/transfer", body={})
        assert answer.status == 200, answer.data
        assert answer.json()["leader_id"] not in {None, leader.id}


def test_every_command_of_the_page_works_on_real_nodes(
    three: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    three.make_namespace()
    first, second, third = three.nodes
    places = {f"127.0.0.1:170{n}0": node.config.listen.http for n, node in enumerate(three.nodes)}
    places |= {f"node-{n}": f"n{n}" for n in range(1, 6)}
    runner = CliRunner(env={"FELIX_ADMIN_ENDPOINTS": None})
    before = third.id
    for line in COMMANDS:
        if "add node-4" in line:
            places["127.0.0.1:17030"] = outsider(three, "n4").config.listen.http
        if "--replace" in line:
            lose_disk(third)
            eventually(lambda: is_known_anew(three, third, before), 60)
        run(line, places, runner)
    assert three.nodes[3].wait() != 0
    three.nodes = [first, second, third]
    three.wait_converged()
    voters = {one["id"] for one in seen_by(first) if one["voter"]}
    assert voters == {node.id for node in three.nodes}
    assert before not in voters


def lose_disk(node: RunningNode) -> None:
    """Let a node come back without its data."""
    node.kill()
    shutil.rmtree(node.data_dir)
    node.start()


def is_known_anew(three: Cluster, lost: RunningNode, before: str) -> bool:
    """Whether the others have a member of its name that is not the one before, and it answers."""
    known = [one["id"] for one in seen_by(three.others(lost)[0]) if one["name"] == lost.name]
    return bool(seen_by(lost)) and any(one != before for one in known)
