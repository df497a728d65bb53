"""`felix-controlplane dev`: a whole cluster in one command."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import urllib3

from felix.cli.config import LISTENERS
from felix.cli.dev import ReadyFile
from tests.support.cluster import children_of, is_free, process_state
from tests.support.dev_cluster import running_dev
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NODES, BROKERS = 3, 2


def test_dev_says_where_everything_is_runs_its_own_example_and_ends_whole() -> None:
    with tempfile.TemporaryDirectory(prefix="felix-test-") as folder:
        with running_dev(Path(folder), NODES, BROKERS) as (process, ready, output):
            assert_the_ready_file_is_right(process, ready)
            assert_the_printed_commands_work(output)
            processes = [node.pid for node in ready.nodes]
            processes += [child for pid in processes for child in children_of(pid)]
            process.terminate()
            assert process.wait(30) == 0
        assert {process_state(pid) for pid in processes} <= {"X", "Z"}
        for node in ready.nodes:
            assert all(is_free(getattr(node, name)) for name in LISTENERS)


def assert_the_ready_file_is_right(process: subprocess.Popen[bytes], ready: ReadyFile) -> None:
    assert len({node.id for node in ready.nodes}) == NODES
    assert sorted(children_of(process.pid)) == sorted(node.pid for node in ready.nodes)
    http = urllib3.PoolManager(retries=False, timeout=10.0)
    for node in ready.nodes:
        command = Path(f"/proc/{node.pid}/cmdline").read_text().split("\0")
        assert node.config in command
        assert http.request("GET", f"http://{node.http}/v1/cluster").status == 401
        bearer = {"Authorization": f"Bearer {ready.admin_token}"}
        seen = http.request("GET", f"http://{node.http}/v1/cluster", headers=bearer).json()
        member = next(one for one in seen["members"] if one["id"] == node.id)
        assert member["name"] == node.name
        assert member["addresses"] == {name: getattr(node, name) for name in LISTENERS}
        assert http.request("GET", f"http://{node.metrics}/ready").data == b"ok"
    http.clear()


def assert_the_printed_commands_work(output: Path) -> None:
    """Run them as they stand; every broker says that it has heard of all three."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    lines = output.read_text().splitlines()
    commands = [line.strip() for line in lines if line.strip().startswith("curl ")]
    assert len(commands) == 3
    answers = [
        subprocess.run(command, shell=True, capture_output=True, timeout=30, check=True).stdout
        for command in commands
    ]
    assert b'"stream":"orders"' in answers[2], answers
    for number in range(1, BROKERS + 1):
        heard = re.compile(rf"broker-{number} v\d+ CREATE Stream acme/billing/orders")
        eventually(lambda heard=heard: heard.search(output.read_text()))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
