"""`docs/recovery.md`: every command on it, in its order, on a cluster that is lost on the way."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from felix.cli.config import RaftTimings
from felix.proto.commands import CreateTenant, UpdateTenant
from felix.proto.queries import ClusterStatus
from felix.transport.rpc_client import RpcClient
from tests.cluster.load import Load
from tests.rescue.alone import running_alone, status_of
from tests.rescue.commands import felix
from tests.support.cluster import TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PAGE = (Path(__file__).parents[2] / "docs" / "recovery.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
SNAPSHOT_ENTRIES = 100
WRITES = 300


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    timings = RaftTimings(snapshot_entries=SNAPSHOT_ENTRIES, trail_entries=50)
    with cluster(http=True, raft=timings) as running:
        running.make_namespace()
        client = RpcClient(running.rpc)
        for number in range(SNAPSHOT_ENTRIES):  # of few objects: a snapshot is taken soon
            client.ask(UpdateTenant(tenant_id=TENANT, display_name=str(number)))
        client.close()
        with Load(running.rpc) as load:
            eventually(lambda: load.count > WRITES, 30)
        yield running


def test_every_command_of_the_page_does_what_the_page_says(
    three: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = three.wait_converged()
    assert len(COMMANDS) == 9
    save, curl, rotate, sure, verify, restore, replace, plan, apply = COMMANDS
    node = three.nodes[0]
    elsewhere = {
        "127.0.0.1:9000": node.config.listen.rpc,
        "127.0.0.1:8443": node.config.listen.http,
        "/var/backups/felix": str(tmp_path / "kept"),
        "/var/lib/felix": str(tmp_path / "lib"),
        "/etc/felix/felix.yaml": str(node.config_file),
    }
    said = run(save, elsewhere)
    assert before.digest in said
    run(curl, elsewhere)
    (tmp_path / "kept").mkdir()
    assert before.digest in run(rotate, elsewhere)
    run(sure, elsewhere)
    assert run(verify, elsewhere) == said
    assert before.digest in felix("backup", "verify", "http.backup")
    for other in three.nodes:
        node.ask(CreateTenant(tenant_id=f"after-the-backup-{other.name}"))
    lost = three.wait_converged()
    for other in three.nodes:
        other.kill()

    run(restore, elsewhere)
    check_it_lives(tmp_path / "lib", node, before)
    felix("restore", "felix.backup", "--data-dir", "lib", "--config", node.config_file, code=3)
    said = run(replace, elsewhere)
    assert len(list(tmp_path.glob("lib.aside-*"))) == 1
    check_it_lives(tmp_path / "lib", node, before)

    check_plan_and_apply(three, tmp_path, plan, apply, lost)


def check_plan_and_apply(
    three: Cluster, tmp_path: Path, plan: str, apply: str, lost: ClusterStatus
) -> None:
    """One node is lost for good, with it the quorum's certainty; the plan is made of copies."""
    one, two, _ = three.nodes
    no_sockets = shutil.ignore_patterns("*.sock")
    copies = [
        shutil.copytree(node.data_dir, tmp_path / node.name, ignore=no_sockets)
        for node in (one, two)
    ]
    for path in copies:
        (path / "lock").unlink()
    assert "start these nodes" in felix("recover", "plan", *copies, code=6)
    (copies[0] / "journal.db").write_bytes(b"")
    elsewhere = {"/var/lib/felix": str(copies[0]), "/mnt/n2/felix": str(copies[1])}
    said = run(plan, elsewhere)
    assert f"The most advanced log is in {copies[1]}" in said
    assert "DAMAGE" in said
    assert lost.digest in said
    (plan_id,) = re.findall(r"Plan (\w+)\.", said)
    wrong = ("recover", "apply", "--data-dir", copies[1], "--config", two.config_file)
    felix(*wrong, code=3)
    felix(*wrong, "--plan", "0" * 12, code=3)
    # On this page the log knows the node's addresses; `--config` gives the same ones here.
    said = run(apply + f" --config {two.config_file}", elsewhere | {"0123456789ab": plan_id})
    assert lost.digest in said
    check_it_lives(copies[1], two, lost)


def check_it_lives(path: Path, node: RunningNode, old: ClusterStatus) -> None:
    """Start the directory's node: it leads alone, has what the old one had, and takes writes."""
    with running_alone(path, node.config) as client:
        status = leading(client)
        assert status.cluster_id != old.cluster_id
        assert status.node_id not in {member.id for member in old.members}
        assert status.epoch > old.epoch
        assert status.digest == old.digest
        assert status.version > old.version + 1_000_000
        version = client.ask(CreateTenant(tenant_id="new-life")).version
        assert version == status.version + 2, "a tenant comes with a key"
    with running_alone(path, node.config) as client:
        assert leading(client).version == version
        client.ask(CreateTenant(tenant_id="another-start"))


def leading(client: RpcClient) -> ClusterStatus:
    found: list[ClusterStatus] = []

    def it_leads() -> bool:
        status = status_of(client)
        if status is None or status.leader_id != status.node_id:
            return False
        found.append(status)
        return True

    eventually(it_leads)
    return found[-1]


def run(command: str, elsewhere: dict[str, str]) -> str:
    """Run a line of the page with other places than the page has."""
    for here, there in elsewhere.items():
        command = command.replace(here, there)
    program, *arguments = shlex.split(command)
    if program == "felix-controlplane":
        return felix(*arguments)
    done = subprocess.run([program, *arguments], check=True, capture_output=True, timeout=60)
    return done.stdout.decode()
