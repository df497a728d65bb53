"""How a node comes and goes: exit codes, what it says, and what it leaves behind."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from felix.actors.freshness import AGE_S_MAX
from felix.cli.config import LISTENERS, ClusterConfig, Config, HttpConfig, ListenConfig
from felix.cli.config_loading import render
from felix.proto.control_plane import Call
from felix.proto.queries import GetTenant
from tests.support.cluster import (
    TENANT,
    RunningNode,
    children_of,
    cluster,
    free_ports,
    is_free,
    make_configs,
    process_state,
)
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STOP_S = 5.0
GONE = {"X", "Z"}
DATA = {"identity.json", "journal.db", "journal.db-mark", "lock", "snapshots"}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="felix-test-") as path:
        yield Path(path)


@pytest.fixture
def config(folder: Path) -> Config:
    """Of a cluster of one, without HTTP."""
    (made,) = make_configs(folder, 1)
    return msgspec.structs.replace(made, http=HttpConfig(enabled=False))


def serve(folder: Path, text: str) -> tuple[int, list[str]]:
    """Run a node that is to end by itself; give its exit code and what it says."""
    path = folder / "tried.yaml"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "felix", "serve", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def everything_below(pid: int) -> list[int]:
    found = children_of(pid)
    for child in tuple(found):
        found += everything_below(child)
    return found


def assert_nothing_is_left(node: RunningNode, processes: list[int]) -> None:
    listen = node.config.listen
    assert all(is_free(getattr(listen, name)) for name in LISTENERS)
    assert {process_state(pid) for pid in processes} <= GONE
    assert list(node.scratch.iterdir()) == []
    assert {path.name for path in node.data_dir.iterdir()} == DATA


def test_a_node_stops_on_sigterm_in_time_and_leaves_nothing_behind() -> None:
    with cluster(http=True) as three, contextlib.ExitStack() as stack:
        leader = three.leader()
        follower, other = three.others(leader)
        for node in (follower, leader):
            processes = everything_below(node.pid)
            assert len(processes) >= 2, "gunicorn and its worker"
            for name in ("http", "metrics", "rpc"):  # clients that hold on to it
                host, _, port = getattr(node.config.listen, name).rpartition(":")
                stack.enter_context(socket.create_connection((host, int(port))))
            begun = time.monotonic()
            node.terminate()
            assert node.wait() == 0
            assert time.monotonic() - begun < STOP_S
            assert_nothing_is_left(node, processes)
        assert "Traceback" not in leader.log.read_text() + follower.log.read_text()
        three.start()
        assert other.http("GET", "/v1/tenants").status == 200


def test_a_killed_node_takes_its_http_processes_along_and_can_start_again_at_once() -> None:
    with cluster(nodes=1, http=True) as one:
        (node,) = one.nodes
        for _ in range(3):
            processes = everything_below(node.pid)
            node.kill()
            one.start()
            eventually(lambda gone=processes: {process_state(pid) for pid in gone} <= GONE)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert node.http("GET", "/v1/tenants").status == 200


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_port_that_is_taken_is_named(config: Config, folder: Path, listener: str) -> None:
    config = msgspec.structs.replace(config, http=HttpConfig())
    address = getattr(config.listen, listener)
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))):
        code, said = serve(folder, render(config))
    assert code == 3
    (line,) = said
    assert address in line
    assert f"listen.{listener}" in line


def test_a_data_directory_in_use_by_another_node_is_refused(config: Config, folder: Path) -> None:
    with cluster(nodes=1) as one:
        (node,) = one.nodes
        rival = msgspec.structs.replace(node.config, listen=config.listen)
        code, said = serve(folder, render(rival))
        assert code == 3
        (line,) = said
        assert str(node.data_dir) in line
        assert str(node.pid) in line
        assert node.is_ready()


def test_a_data_directory_of_another_cluster_is_refused(config: Config, folder: Path) -> None:
    with cluster(nodes=1) as one:
        (node,) = one.nodes
        node.kill()
        stranger = msgspec.structs.replace(
            node.config,
            listen=config.listen,
            cluster=ClusterConfig(
                name="another", bootstrap="new", members=node.config.cluster.members
            ),
        )
        code, said = serve(folder, render(stranger))
        assert code == 3
        (line,) = said
        assert "belongs to cluster" in line
        one.start()


def test_an_empty_data_directory_does_not_join_an_existing_cluster(
    config: Config, folder: Path
) -> None:
    existing = ClusterConfig(name="c", bootstrap="existing", members=config.cluster.members)
    code, said = serve(folder, render(msgspec.structs.replace(config, cluster=existing)))
    assert code == 3
    (line,) = said
    assert "cluster.bootstrap" in line


def test_a_journal_that_is_damaged_is_refused(config: Config, folder: Path) -> None:
    node = RunningNode(config, folder / "node")
    try:
        node.start()
        eventually(node.is_ready, 30)
        node.terminate()
        assert node.wait() == 0
    finally:
        node.kill()
    journal = node.data_dir / "journal.db"
    journal.write_bytes(b"not a database" * 100)
    code, said = serve(folder, render(config))
    assert code == 3
    (line,) = said
    assert str(journal) in line


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nme: n1\n", "did you mean name?"),
        ("name: [\n", "tried.yaml"),
        ("name: n1\ndata_dir: /nowhere\n", "cluster.members"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused(folder: Path, text: str, hint: str) -> None:
    code, said = serve(folder, text)
    assert code == 2
    assert hint in "\n".join(said)
    assert not any("Traceback" in line for line in said)


def test_an_address_that_others_could_reach_is_refused(config: Config, folder: Path) -> None:
    (port,) = free_ports(1)
    open_to_all = ListenConfig(
        **{name: getattr(config.listen, name) for name in LISTENERS} | {"rpc": f"0.0.0.0:{port}"}
    )
    code, said = serve(folder, render(msgspec.structs.replace(config, listen=open_to_all)))
    assert code == 2
    assert "listen.rpc" in said[0]


def test_a_node_that_says_it_is_ready_knows_how_old_its_answers_are() -> None:
    with cluster(nodes=3) as three:
        three.make_namespace()
        for node in three.nodes * 2:
            node.kill()
            three.start()
            seen = node.ask(GetTenant(tenant_id=TENANT), Call(consistency="stale"))
            assert seen.age_ms < AGE_S_MAX * 1000, "else nobody can be authenticated by it"
