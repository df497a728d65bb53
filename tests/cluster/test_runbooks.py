"""`docs/runbooks.md`, acted out on real nodes: what it says is seen is seen, what it says helps."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import urllib3
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.cli.admin.errors import EXIT_REFUSED, EXIT_UNREACHABLE
from felix.cli.config import LimitsConfig, RaftTimings
from felix.cli.dev import ReadyFile
from tests.cluster.placed_broker import PlacedBroker
from tests.cluster.test_placement import ORDERS, PATIENT, Scene
from tests.support.cluster import Cluster, RunningNode, cluster
from tests.support.dev_cluster import running_dev
from tests.support.disks import fill, small_disk
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PAGE: Final = (Path(__file__).parents[2] / "docs" / "runbooks.md").read_text(encoding="utf-8")
RAFT: Final = RaftTimings(promote_after_ms=500)
DISK_MB, FREE_MIN_MB = 64, 30
PATIENCE_S: Final = 60.0
Lost: TypeAlias = tuple[Scene, PlacedBroker, str]
"""A scene, the broker that is gone, and the name of one that is alive and has not everything."""


def section(anchor: str) -> str:
    """Give what the page says between a runbook's anchor and the next one's."""
    return PAGE.partition(f'<a id="{anchor}"></a>')[2].partition("<a id=")[0]


def admin(three: Cluster, command: str) -> Result:
    endpoints = ",".join(node.config.listen.http for node in three.nodes)
    return CliRunner(env={"FELIX_ADMIN_ENDPOINTS": endpoints}).invoke(main, command.split())


def members_in(three: Cluster) -> dict[str, tuple[str, str]]:
    """Read VOTER and ACTIVE of each member off the table of `cluster status`."""
    shown = admin(three, "cluster status").stdout
    rows = re.findall(r"^(n\d+) +\w+ +(yes|no) +[\d,—-]* +(yes|no)", shown, re.MULTILINE)
    return {name: (voter, active) for name, voter, active in rows}


def all_is_well(three: Cluster) -> bool:
    """Whether it is over, by the words of the page."""
    seen = members_in(three)
    return len(seen) == len(three.nodes) and set(seen.values()) == {("yes", "yes")}


def write(node: RunningNode, tenant: str) -> urllib3.BaseHTTPResponse:
    return node.http("POST", "/v1/tenants", {"tenant_id": tenant, "display_name": tenant})


def test_a_lost_node_comes_back_with_an_empty_disk_and_nothing_is_typed() -> None:
    assert "**empty** data directory" in section("lost-node")
    with cluster(http=True, raft=RAFT) as three:
        lost, stays = three.others(three.leader())
        lost.kill()
        eventually(lambda: members_in(three).get(lost.name) == ("yes", "no"), PATIENCE_S)
        assert write(three.leader(), "with-two-of-three").status == 201
        refused = admin(three, f"cluster remove {stays.name} --yes")
        assert refused.exit_code == EXIT_REFUSED
        assert "Try: bring the silent members back first" in refused.stderr
        shutil.rmtree(lost.data_dir)
        lost.start()
        eventually(lambda: all_is_well(three), PATIENCE_S)
        three.wait_ready()


def test_a_node_that_never_comes_back_is_removed() -> None:
    assert "`felix-admin cluster remove NAME`" in section("lost-node")
    with cluster(http=True, raft=RAFT) as three:
        lost = three.others(three.leader())[0]
        lost.kill()
        eventually(lambda: members_in(three).get(lost.name) == ("yes", "no"), PATIENCE_S)
        removed = admin(three, f"cluster remove {lost.name} --yes")
        assert removed.exit_code == 0, removed.output
        assert lost.name not in members_in(three)
        assert write(three.leader(), "with-two-of-two").status == 201


def test_a_lost_quorum_is_back_when_one_more_node_is_started() -> None:
    with cluster(http=True) as three:
        assert write(three.nodes[0], "before").status == 201
        left, *gone = three.nodes
        for node in gone:
            node.kill()
        eventually(lambda: left.probe("/ready").status == 503)
        assert b"leader" in left.probe("/ready").data
        assert left.probe("/live").status == 200
        assert left.metrics()["felix_raft_has_leader"] == 0
        assert write(left, "meanwhile").status == 503
        eventually(lambda: write(left, "meanwhile").json()["code"] == "no_leader", 30)
        status = admin(three, "cluster status")
        assert status.exit_code == EXIT_UNREACHABLE
        assert "Try: " in status.stderr
        assert "runbooks.md#lost-quorum" in status.stderr
        three.start(gone[:1])
        eventually(lambda: admin(three, "cluster status").exit_code == 0, PATIENCE_S)
        assert write(left, "after").status == 201
        assert left.http("GET", "/v1/tenants/before").status == 200


def test_a_full_disk_of_the_leader_is_mended_by_another_leader_or_by_space() -> None:
    limits = LimitsConfig(disk_free_min_mb=FREE_MIN_MB)
    with cluster(
        http=True, limits=limits, disk=lambda node: small_disk(node.data_dir, DISK_MB)
    ) as three:
        full = three.leader()
        ballast = fill(full.data_dir, leaving_mb=FREE_MIN_MB / 2)
        eventually(lambda: full.metrics()["felix_disk_low"] == 1)
        refused = write(three.others(full)[0], "refused")
        assert (refused.status, refused.json()["code"]) == (507, "disk_full")
        assert "limits.disk_free_min_mb" in refused.json()["message"]
        alarm = admin(three, "cluster status").stdout
        assert str(full.data_dir) in alarm, alarm
        moved = admin(three, "cluster transfer")
        assert moved.exit_code == 0, moved.output
        assert three.leader() is not full
        eventually(lambda: write(full, "by-another-leader").status in {201, 409})
        assert admin(three, f"cluster transfer {full.name}").exit_code == 0
        eventually(lambda: write(full, "refused-again").status == 507)
        ballast.unlink()
        eventually(lambda: full.metrics()["felix_disk_low"] == 0)
        assert write(full, "with-space").status == 201


@pytest.fixture
def shards() -> Iterator[Lost]:
    """Three nodes, two brokers that hold a shard, and one of them not in sync."""
    with cluster(http=True, brokers=PATIENT) as three:
        three.make_namespace()
        scene = Scene(three)
        scene.site.start("b0", "b1")
        scene.create(copies=2)
        scene.until(lambda: len(scene.shard().in_sync) == 2)
        leader = scene.shard().leader
        other = next(one for one in scene.site.running if one != leader)
        for broker in scene.site.running.values():
            broker.copies_come = False
        behind = scene.site.running.pop(other)
        scene.until(lambda: scene.status(other) == "down")
        scene.until(lambda: scene.shard().in_sync == (leader,))
        behind.register()
        scene.site.running[other] = behind
        scene.until(lambda: scene.status(other) == "active")
        lost = scene.site.running.pop(leader)
        scene.until(lambda: not scene.shard().leader)
        yield scene, lost, other


def unplaced(scene: Scene) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        scene.three.nodes[0].http("GET", "/v1/placement/plan").json()["unplaced"]
    )
    return found


def test_a_shard_is_led_again_when_the_broker_with_its_data_is_back(shards: Lost) -> None:
    scene, lost, _ = shards
    (row,) = unplaced(scene)
    assert lost.name in json.dumps(row), row
    lost.register()
    scene.site.running[lost.name] = lost
    scene.until(lambda: scene.shard().leader == lost.name)
    eventually(lambda: unplaced(scene) == [])


def test_a_shard_whose_broker_is_gone_for_ever_is_abandoned_to_a_live_copy(shards: Lost) -> None:
    scene, _, other = shards
    stream = f"/v1/tenants/{ORDERS.tenant_id}/namespaces/{ORDERS.namespace}/streams/{ORDERS.stream}"
    done = scene.three.nodes[0].http("POST", f"{stream}/shards/0/abandon")
    assert done.status in {200, 202}, done.data
    scene.until(lambda: scene.shard().leader == other)
    eventually(lambda: unplaced(scene) == [])


def signed_in(ready: ReadyFile, subject: str) -> str:
    """Have the development identity provider vouch for somebody."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    url = f"{ready.idp}/token"
    answer = urllib3.request("POST", url, body=f"subject={subject}", headers=form)
    token: str = answer.json()["id_token"]
    return token


def trail_of(env: dict[str, str], result: str) -> str:
    listed = CliRunner(env=env).invoke(main, ["audit", "list", "--result", result, "-o", "json"])
    assert listed.exit_code == 0, listed.output
    return listed.stdout


def ask(ready: ReadyFile, token: str, method: str, path: str) -> tuple[int, str]:
    answer = urllib3.request(
        method,
        f"http://{ready.nodes[0].http}{path}",
        headers={"Authorization": f"Bearer {token}"},
        retries=False,
    )
    return answer.status, answer.data.decode()


def test_a_wrong_token_says_so_and_a_stolen_one_is_void_once_it_is_revoked() -> None:
    folder = Path(tempfile.mkdtemp(prefix="felix-test-"))  # short: it holds ipc sockets
    try:
        with running_dev(folder, 1, 0) as (_, ready, _):
            endpoints = {"FELIX_ADMIN_ENDPOINTS": ready.nodes[0].http}
            for wrong in ("not-a-token", ready.admin_token[:-4] + "AAAA", ""):
                env = endpoints | {"FELIX_ADMIN_TOKEN": wrong}
                told = CliRunner(env=env).invoke(main, ["cluster", "status"])
                assert told.exit_code == EXIT_REFUSED, told.output
                assert "Try: give a token that is still good" in told.stderr
            env = endpoints | {"FELIX_ADMIN_TOKEN": ready.tenant_token}
            told = CliRunner(env=env).invoke(main, ["cluster", "status"])
            assert told.exit_code == EXIT_REFUSED, told.output
            assert "Try: take the token of somebody who may" in told.stderr

            env = endpoints | {"FELIX_ADMIN_TOKEN": ready.admin_token}
            vouched = signed_in(ready, "eve")
            exchange = f"/v1/tenants/{ready.tenant}/token/exchange"
            status, said = ask(ready, vouched, "POST", exchange)
            assert (status, "no_permissions" in said) == (403, False)
            eventually(lambda: "no_permissions" in trail_of(env, "forbidden"))
            eventually(lambda: "malformed" in trail_of(env, "unauthorized"))
            mine = f"/v1/tenants/{ready.tenant}"
            assert ask(ready, ready.tenant_token, "GET", mine)[0] == 200
            assert ask(ready, ready.admin_token, "POST", f"{mine}/tokens/revoke")[0] == 204
            eventually(lambda: ask(ready, ready.tenant_token, "GET", mine)[0] == 401)
            assert ask(ready, ready.admin_token, "GET", mine)[0] == 200
    finally:
        shutil.rmtree(folder)


def test_an_operator_whose_token_is_over_gets_another_one_without_a_quorum(tmp_path: Path) -> None:
    assert "Tokens are given out meanwhile too" in section("lost-quorum")
    with running_dev(tmp_path, 3, 0) as (_, ready, _):
        left, *gone = ready.nodes
        for node in gone:
            os.kill(node.pid, signal.SIGKILL)
        metrics = f"http://{left.metrics}"
        eventually(lambda: urllib3.request("GET", f"{metrics}/ready", retries=False).status == 503)
        exchange = "/v1/tenants/felix-operators/token/exchange"
        status, said = ask(ready, signed_in(ready, "admin"), "POST", exchange)
        assert status == 200, said
        env = {"FELIX_ADMIN_ENDPOINTS": left.http}
        env["FELIX_ADMIN_TOKEN"] = json.loads(said)["felix_token"]
        look = ["cluster", "status"]  # for a moment it still names the old leader
        eventually(lambda: CliRunner(env=env).invoke(main, look).exit_code == EXIT_UNREACHABLE)
        assert "runbooks.md#lost-quorum" in CliRunner(env=env).invoke(main, look).stderr
