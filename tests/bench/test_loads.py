"""The loops that generate load, against connections made of memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from bench.loads import sequential, windowed
from bench.machine import Spent, file_system, foreign_percent, resident_mib, spent
from bench.measure import Figures, Round
from bench.ports import free_ports
from bench.report import write_json
from bench.systems import Acknowledged, Work, spread


class MemoryPipe:
    """Answers what is outstanding, newest first, at most so many at once."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.outstanding: list[int] = []
        self.most_outstanding = 0
        self.sent: list[int] = []

    def send(self, numbers: Sequence[int]) -> None:
        self.sent.extend(numbers)
        self.outstanding.extend(numbers)
        self.most_outstanding = max(self.most_outstanding, len(self.outstanding))

    def receive(self) -> list[Acknowledged]:
        taken = [self.outstanding.pop() for _ in range(min(self.at_once, len(self.outstanding)))]
        return [Acknowledged(number, number) for number in taken]

    def close(self) -> None:
        """Release nothing."""


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_a_window_stays_full_and_every_write_is_counted_once(at_once: int) -> None:
    pipe = MemoryPipe(at_once)
    load = windowed(pipe, count=500, window=64)
    assert pipe.sent == list(range(500))
    assert sorted(load.marks) == list(range(500))
    assert len(load.latencies_s) == len(load.acknowledged_at) == 500
    assert pipe.most_outstanding == 64


def test_a_window_whose_time_is_up_waits_for_what_is_outstanding() -> None:
    pipe = MemoryPipe(8)
    load = windowed(pipe, count=10_000, window=64, seconds=0.0)
    assert sorted(load.marks) == pipe.sent == list(range(64))


def test_a_sequence_has_one_write_outstanding() -> None:
    pipe = MemoryPipe(8)
    load = sequential(pipe, range(10, 20))
    assert load.marks == list(range(10, 20))
    assert pipe.most_outstanding == 1
    assert load.per_second > 0


def test_a_pace_holds_the_writer_back() -> None:
    load = sequential(MemoryPipe(1), range(6), pace_s=0.002)
    assert load.ended_at - load.started_at >= 5 * 0.002


def test_subscribers_are_spread_evenly_over_nodes_and_processes() -> None:
    dealt = list(spread(100, 2))
    assert [len(nodes) for nodes in dealt] == [50, 50]
    everybody = [node for nodes in dealt for node in nodes]
    assert [everybody.count(node) for node in range(3)] == [34, 33, 33]
    assert list(spread(1, 2)) == [[0]]


def test_names_are_unique_and_in_order() -> None:
    names = [Work("w", 3).name(number) for number in range(3)]
    assert names == ["w-00000000", "w-00000001", "w-00000002"]


def test_the_document_has_exactly_the_agreed_members(tmp_path: Path) -> None:
    row = Figures("felix", "in_flight=1", 1000.0, 1.0, 2.0, 3.0, 4.0)
    path = tmp_path / "new" / "out.json"
    write_json(path, "commit", [Round(row, {"client_cpu_percent": 5.0})])
    assert msgspec.json.decode(path.read_bytes()) == {
        "bench": "commit",
        "results": [
            {
                "system": "felix",
                "case": "in_flight=1",
                "ops_per_s": 1000.0,
                "p50_ms": 1.0,
                "p90_ms": 2.0,
                "p99_ms": 3.0,
                "max_ms": 4.0,
            }
        ],
    }


def test_what_others_used_is_what_we_did_not() -> None:
    cores = os.cpu_count() or 1
    before = Spent(at=0.0, machine_s=10.0, ours_s=5.0)
    after = Spent(at=10.0, machine_s=10.0 + 5.0 * cores, ours_s=5.0 + 4.0 * cores)
    assert foreign_percent(before, after) == pytest.approx(10.0)
    assert foreign_percent(before, Spent(10.0, 11.0, 7.0)) == 0.0


def test_the_meters_can_be_read() -> None:
    now = spent()
    assert 0 < now.ours_s <= now.machine_s
    assert resident_mib([os.getpid()])[0] > 1
    assert file_system(Path("/proc/self")) == "proc"


@pytest.mark.slow
def test_free_ports_are_consecutive() -> None:
    ports = free_ports(6)
    assert ports == list(range(ports[0], ports[0] + 6))
