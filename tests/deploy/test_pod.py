"""What the chart tells a node is what a node takes: read by the real command, and run."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import urllib3
import yaml

from tests.deploy.chart import WAYS, only, render
from tests.deploy.pod import backup_pod, make_secrets, manifests_on_this_machine, node_pod
from tests.support.cluster import free_ports
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = make_secrets(tmp_path_factory.mktemp("secrets"), pods=5)
    (made["felix-kek"] / "old").write_bytes((made["felix-kek"] / "kek").read_bytes())
    return made


@pytest.mark.parametrize("way", WAYS)
def test_every_configuration_of_the_chart_is_right(
    way: str, secrets: dict[str, Path], tmp_path: Path
) -> None:
    manifests = render(WAYS[way])
    replicas = only(manifests, "StatefulSet")["spec"]["replicas"]
    pod = node_pod(tmp_path, manifests, secrets, ordinal=replicas - 1)
    done = pod.run("config", "check")
    assert done.returncode == 0, done.stderr
    seen = yaml.safe_load(done.stdout)
    assert len(seen["cluster"]["members"]) == replicas
    assert seen["name"] == f"felix-{replicas - 1}"
    assert seen["insecure"] is False
    assert seen["log"]["format"] == "json"


def test_a_node_runs_by_the_chart_and_only_where_it_may_write(
    secrets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pod")
    names = ("http", "metrics", "peers", "rpc", "watch", "bootstrap")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    manifests = manifests_on_this_machine({"ports": ports, "bootstrap": {"enabled": True}})
    pod = node_pod(folder, manifests, secrets, ordinal=0)
    trusted = secrets["felix-tls"] / "tls.crt"
    before = files_outside_of_volumes(folder)
    process = pod.start()
    try:
        eventually(lambda: answers(trusted, ports["metrics"], "/ready") == 200, 60)
        assert answers(trusted, ports["metrics"], "/live") == 200
        eventually(lambda: answers(trusted, ports["http"], "/v1/system/health") == 200, 60)
        elsewhere = tmp_path_factory.mktemp("backup")
        backup = backup_pod(elsewhere, manifests, secrets).run_args()
        assert backup.returncode == 0, backup.stderr
        (file,) = elsewhere.glob("var/lib/felix-backups/felix-*.backup")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        stopped = pod.pre_stop()
        assert stopped.returncode == 0, stopped.stderr
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    assert files_outside_of_volumes(folder) == before
    assert (folder / "var/lib/felix/raft/journal.db").exists()


@pytest.mark.parametrize("bootstrap", ["new", "existing"])
def test_a_pod_whose_names_nobody_knows_yet_is_left_alone(
    bootstrap: str, secrets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = ("http", "metrics", "peers", "rpc", "watch", "bootstrap")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    manifests = render({"ports": ports, "cluster": {"bootstrap": bootstrap}})
    pod = node_pod(tmp_path_factory.mktemp("pod"), manifests, secrets, ordinal=1)
    trusted = secrets["felix-tls"] / "tls.crt"
    process = pod.start()
    try:
        eventually(lambda: answers(trusted, ports["metrics"], "/live") == 200, 60)
        assert answers(trusted, ports["metrics"], "/ready") == 503
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


def answers(trusted: Path, port: int, path: str) -> int:
    with urllib3.PoolManager(ca_certs=str(trusted), retries=False) as pool:
        try:
            return pool.request("GET", f"https://127.0.0.1:{port}{path}", timeout=5).status
        except urllib3.exceptions.HTTPError:
            return 0


def files_outside_of_volumes(folder: Path) -> set[Path]:
    volumes = (folder / "tmp", folder / "var/lib/felix")
    return {one for one in folder.rglob("*") if not any(one.is_relative_to(at) for at in volumes)}
