"""`docs/kubernetes.md`: our commands are run, in their order; those of Kubernetes are held against
the chart.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.chart import NAMESPACE, RELEASE, ROOT, Values, of_kind, only, render
from tests.deploy.pod import Pod, backup_pod, manifests_on_this_machine, node_pod
from tests.support.cluster import free_ports
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PAGE: Final = (ROOT / "docs" / "kubernetes.md").read_text()
COMMANDS: Final = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
LISTENERS: Final = ("http", "metrics", "peers", "rpc", "watch", "bootstrap")


def beginning_with(*programs: str) -> list[str]:
    return [line for line in COMMANDS if line.split()[0] in programs]


def run(line: str, folder: Path, code: int = 0, **environment: str) -> str:
    """Run a line as a shell does that finds what is installed here."""
    plain = {name: text for name, text in os.environ.items() if not name.startswith("FELIX_")}
    path = f"{Path(sys.executable).parent}:{plain['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", line],
        cwd=folder,
        env=plain | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, (line, done.stdout, done.stderr)
    return done.stdout


def values_of(line: str) -> Values:
    """Read what a line of `helm` sets."""
    words = shlex.split(line)
    assert words[:3] == ["helm", "-n", NAMESPACE]
    assert words[4:6] == [RELEASE, "deploy/helm/felix-controlplane"]
    assert (ROOT / words[5] / "Chart.yaml").exists()
    values: Values = {}
    for at, word in enumerate(words):
        if word == "--set":
            key, _, text = words[at + 1].partition("=")
            *path, last = key.split(".")
            inner = values
            for name in path:
                inner = inner.setdefault(name, {})
            inner[last] = text if key == "image.tag" else yaml.safe_load(text)
    return values


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where somebody has followed the page: keys, certificates, and a list."""
    folder = tmp_path_factory.mktemp("desk")
    for line in beginning_with("felix-controlplane", "echo", "openssl", "cp"):
        run(line, folder)
    return folder


@pytest.fixture(scope="module")
def secrets(desk: Path) -> dict[str, Path]:
    """What `kubectl create secret` makes of the files; a later line replaces an earlier one."""
    made = {}
    for at, line in enumerate(beginning_with("kubectl")):
        if "create secret generic" not in line:
            continue
        words = shlex.split(line)
        folder = desk / f"secret-{at}"
        folder.mkdir()
        for file in (word.partition("=")[2] for word in words if word.startswith("--from-file=")):
            (folder / file).write_bytes((desk / file).read_bytes())
        made[words[6]] = folder
    return made


def test_the_secrets_of_the_page_are_those_that_the_pods_need(
    secrets: dict[str, Path], tmp_path: Path
) -> None:
    manifests = render({"replicas": 5, "bootstrap": {"enabled": True}})
    for ordinal in range(5):
        folder = tmp_path / str(ordinal)
        folder.mkdir()
        done = node_pod(folder, manifests, secrets, ordinal).run("config", "check")
        assert done.returncode == 0, done.stderr
    backup_pod(tmp_path / "backup", manifests, secrets)


def test_the_values_that_the_page_sets_are_values_of_the_chart() -> None:
    lines = beginning_with("helm")
    assert lines[0].split()[3] == "install"
    for line in lines:
        values = values_of(line)
        assert values
        assert line.split()[3] == "install" or "--reuse-values" in line
        render(values)
    assert {"replicas": 5, "cluster": {"bootstrap": "existing"}} in map(values_of, lines)


def test_what_the_page_names_is_in_the_chart() -> None:
    manifests = render({})
    known = {f"{one['kind'].lower()}/{one['metadata']['name']}" for one in manifests}
    nodes = only(manifests, "StatefulSet")
    (claim,) = nodes["spec"]["volumeClaimTemplates"]
    pods = [f"{nodes['metadata']['name']}-{at}" for at in range(nodes["spec"]["replicas"])]
    claims = {f"{claim['metadata']['name']}-{pod}" for pod in pods}
    for line in beginning_with("kubectl"):
        words = shlex.split(line)
        assert NAMESPACE in words
        named = re.findall(r"(?:statefulset|service|cronjob)/[\w-]+", line)
        assert set(named) <= known, line
        if words[3:5] == ["delete", "pvc"]:
            assert {word for word in words[5:] if not word.startswith("-")} <= claims
        if words[3:5] == ["delete", "pod"]:
            assert words[5] in pods
        if "-l" in words:
            label = words[words.index("-l") + 1].split("=")
            assert label in map(list, nodes["spec"]["selector"]["matchLabels"].items())
    for text in re.findall(r"`(felix-(?:peers|backups))`", PAGE):
        assert any(one["metadata"]["name"] == text for one in manifests), text


def test_a_command_of_felix_admin_is_understood(desk: Path) -> None:
    lines = beginning_with("felix-admin")
    assert lines
    services = {one["metadata"]["name"] for one in of_kind(render({}), "Service")}
    for line in lines:
        (host,) = re.findall(r"https://felix-\d\.([\w-]+)\.", line)
        assert host in services
        # Nobody answers here: that is another exit code than that of a wrong command.
        run(line, desk, code=3, FELIX_ADMIN_ENDPOINTS="127.0.0.1:1")


def test_the_first_administrators_come_in_and_a_backup_is_restored(
    desk: Path, secrets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    values: dict[str, Any] = {"ports": ports, "bootstrap": {"enabled": True}}
    manifests = manifests_on_this_machine(values)
    pod = node_pod(tmp_path_factory.mktemp("pod"), manifests, secrets, ordinal=0)
    (curl,) = beginning_with("curl")
    process = pod.start()
    try:
        eventually(lambda: can_connect(desk, ports["http"]), 60)
        said = run(curl.replace("127.0.0.1:9095", f"127.0.0.1:{ports['bootstrap']}"), desk)
        assert '"initialized"' in said
        elsewhere = tmp_path_factory.mktemp("backup")
        assert backup_pod(elsewhere, manifests, secrets).run_args().returncode == 0
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    restore(pod, next(elsewhere.glob("var/lib/felix-backups/*.backup")), desk)


def can_connect(desk: Path, port: int) -> bool:
    """Whether HTTP answers to the name that the page puts into the certificate."""
    address = f"https://felix:{port}/v1/system/health"
    to = f"felix:{port}:127.0.0.1:{port}"
    command = ["curl", "-sSf", "--cacert", str(desk / "ca.crt"), "--connect-to", to, address]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def restore(pod: Pod, backup: Path, desk: Path) -> None:
    (line,) = beginning_with("FELIX_NAME=felix-0")
    line = re.sub(r"/backups/felix-\w+\.backup", str(backup), line)
    line = line.replace("/etc/felix/config/felix.yaml", str(pod.config_file))
    assert "1 Tenant" in run(line, desk)
