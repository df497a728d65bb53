"""The etcd client against etcd, where it is installed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from bench.loads import sequential, windowed
from bench.peers.etcd import launch
from bench.systems import NODES, Work, wait_healthy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd-server is not installed"),
]
DEADLINE_S = 20.0


def test_what_is_put_is_heard_and_read_back_and_survives_a_kill(tmp_path: Path) -> None:
    with launch(str(tmp_path)) as cluster:
        target = cluster.target
        leader = wait_healthy(target)
        heard = target.subscribe((leader + 1) % NODES, "work", 0, 300)
        pipe = target.pipe(leader, Work("work", 300), 0)
        deadline = time.monotonic() + DEADLINE_S
        try:
            while not heard.ready:
                assert time.monotonic() < deadline
                heard.drain()
            assert windowed(pipe, count=300, window=64).per_second > 0
            while heard.received < 300:
                assert time.monotonic() < deadline
                heard.drain()
        finally:
            pipe.close()
            heard.close()
        assert all(heard.arrived_at)
        cluster.kill(leader)
        writer = target.writer()
        try:
            node = leader
            while not writer.write(node, "after", 0.1):
                assert time.monotonic() < deadline
                node = (node + 1) % NODES
        finally:
            writer.close()
        cluster.restart(leader)
        wait_healthy(target)
        assert target.names("work") == {Work("work", 300).name(number) for number in range(300)}
        assert target.names("after") == {"after"}
        assert [target.snapshot(node, "work") for node in range(NODES)] == [300] * NODES


def test_a_connection_outlives_the_first_flow_control_window(tmp_path: Path) -> None:
    with launch(str(tmp_path)) as cluster:
        leader = wait_healthy(cluster.target)
        pipe = cluster.target.pipe(leader, Work("long", 1000), 0)
        try:
            load = sequential(pipe, range(1000))  # 300 kB through a window of 64 KiB
        finally:
            pipe.close()
        assert load.marks == list(range(1000))
