"""What commits feel of snapshots: of one being installed on a follower, of one being written."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from bench.errors import BenchError
from bench.loads import Load, Order, clock, write
from bench.machine import foreign_percent, spent
from bench.measure import Round, figures
from bench.scale import STREAMS, Pulse, Scene, between, each_round, pulse, wait_until
from bench.stage import LOAD_TIMEOUT_S, READY_TIMEOUT_S, Plan
from bench.systems import NODES, Work, wait_healthy
from bench.workers import Worker

CHANGES_UNTIL_SNAPSHOT = 60_000
"""After so many a snapshot holds all streams and the log has been trimmed."""
QUIET_S = 4.0
SEQUENCE_S = 14.0
WINDOW = 8
CHANGES_WITH_SNAPSHOTS = 120_000
"""Enough for two snapshots of all streams."""
_POLL_S = 0.002
_GENTLE_POLL_S = 0.05
"""For what costs the node something to tell."""
_SHARE_MIN = 100
"""Writes; from fewer no p99 is to be had."""


def run(plan: Plan) -> list[Round]:
    """Give an empty follower 100,000 streams, then have all nodes write them down."""
    return each_round(plan, _turn)


def _turn(scene: Scene) -> list[Round]:
    away = (scene.leader + 1) % NODES
    # Stopped, not ended: the start of a process takes both cores of a small machine for a second.
    calm_before = pulse(scene, [away])
    os.kill(scene.cluster.pids()[away], signal.SIGSTOP)
    scene.create_streams()
    scene.change("fill", CHANGES_UNTIL_SNAPSHOT)
    rounds = _installing(scene, away, calm_before.heartbeats_missed)
    wait_healthy(scene.cluster.target)
    return rounds + _writing(scene)


def _installing(scene: Scene, away: int, missed_before: float) -> list[Round]:
    """Wake the follower that has nothing, while one client writes in sequence."""
    others = [number for number in range(NODES) if number != away]
    folder = scene.nodes[away].data_dir / "snapshots"
    before, calm = spent(), pulse(scene, others)
    order = Order(scene.leader, Work("seq", 40_000, "change"), seconds=SEQUENCE_S)
    with Worker(write, scene.cluster.target, order) as worker:
        worker.receive(str, READY_TIMEOUT_S)
        begun = clock()
        worker.send("go")
        time.sleep(QUIET_S)
        still, led_before = pulse(scene, others), pulse(scene, [scene.leader])
        started = clock()
        os.kill(scene.cluster.pids()[away], signal.SIGCONT)
        sending = wait_until("a first piece", lambda: bool(_names(folder)))
        sent = wait_until("the last piece", lambda: not _partial(folder))
        done = wait_until("the follower has it", lambda: _has_applied(scene, away), _GENTLE_POLL_S)
        after, led = pulse(scene), pulse(scene, [scene.leader])
        load = worker.receive(Load, LOAD_TIMEOUT_S)
    foreign = foreign_percent(before, spent())
    _hold_peace(calm, pulse(scene, others))
    if scene.nodes[away].samples()["felix_raft_snapshot_index"] < STREAMS:
        raise BenchError("the follower got no snapshot of all streams")
    size = max(path.stat().st_size for path in folder.glob("*.snapshot"))
    notes = {
        "snapshot_mib": round(size / (1 << 20), 1),
        "awake_to_first_piece_s": round(sending - started, 2),
        "transfer_s": round(sent - sending, 2),
        "transfer_and_load_s": round(done - sending, 2),
        "heartbeats_missed": after.heartbeats_missed - still.heartbeats_missed - missed_before,
        "of_them_by_leader": led.heartbeats_missed - led_before.heartbeats_missed,
        "heartbeats_missed_before": still.heartbeats_missed - calm.heartbeats_missed,
        "foreign_cpu_percent": round(foreign, 1),
    }
    return _compared("in_flight=1", "installing", load, [(sending, done)], (begun, started), notes)


def _has_applied(scene: Scene, number: int) -> bool:
    samples = scene.nodes[number].samples()
    # A node that is busy loading may not tell its metrics page these in time.
    snapshot = samples.get("felix_raft_snapshot_index", 0.0)
    return samples.get("felix_raft_applied_index", 0.0) > snapshot > 0


def _writing(scene: Scene) -> list[Round]:
    """Write on with a few in flight until every node has written two snapshots."""
    folder = scene.nodes[scene.leader].data_dir / "snapshots"
    before, calm = spent(), pulse(scene)
    order = Order(scene.leader, Work("some", CHANGES_WITH_SNAPSHOTS, "change"), window=WINDOW)
    spans: list[tuple[float, float]] = []
    missed = 0.0
    with Worker(write, scene.cluster.target, order) as worker:
        worker.receive(str, READY_TIMEOUT_S)
        begun = clock()
        worker.send("go")
        while not worker.is_talking(_POLL_S):
            if any(name.endswith(".writing") for name in _names(folder)):
                since, still = clock(), pulse(scene)
                wait_until("it is written", lambda: not _writing_in(folder))
                spans.append((since, clock()))
                missed += pulse(scene).heartbeats_missed - still.heartbeats_missed
        load = worker.receive(Load, LOAD_TIMEOUT_S)
    foreign = foreign_percent(before, spent())
    after = pulse(scene)
    _hold_peace(calm, after)
    notes = {
        "snapshots": len(spans),
        "seconds_each": round(sum(end - since for since, end in spans) / max(1, len(spans)), 2),
        "heartbeats_missed": missed,
        "heartbeats_missed_beside": after.heartbeats_missed - calm.heartbeats_missed - missed,
        "foreign_cpu_percent": round(foreign, 1),
    }
    return _compared(f"in_flight={WINDOW}", "writing", load, spans, (begun, load.ended_at), notes)


def _compared(
    case: str,
    what: str,
    load: Load,
    spans: list[tuple[float, float]],
    quiet: tuple[float, float],
    notes: dict[str, float],
) -> list[Round]:
    """Hold the writes during some spans against those of a quiet time."""
    during = between(load, spans, inside=True)
    calm = [
        latency
        for latency, ended in zip(load.latencies_s, load.acknowledged_at, strict=True)
        if quiet[0] <= ended <= quiet[1]
        and not any(begin <= ended and ended - latency <= end for begin, end in spans)
    ]
    if min(len(during), len(calm)) < _SHARE_MIN:
        raise BenchError(f"{len(during)} writes during it and {len(calm)} beside it are too few")
    lasted = sum(end - begin for begin, end in spans)
    loud = figures("felix", f"{case}, {what}", len(during) / lasted, during)
    still = figures("felix", f"{case}, quiet", len(calm) / (quiet[1] - quiet[0]), calm)
    notes = notes | {
        "writes": len(during),
        "p50_ratio": round(loud.p50_ms / still.p50_ms, 2),
        "p99_ratio": round(loud.p99_ms / still.p99_ms, 2),
    }
    return [Round(still, {"foreign_cpu_percent": notes["foreign_cpu_percent"]}), Round(loud, notes)]


def _hold_peace(before: Pulse, after: Pulse) -> None:
    """Fail when there was an election."""
    if (before.term, before.leader_changes) != (after.term, after.leader_changes):
        raise BenchError(f"the leader changed meanwhile: {before}, then {after}")


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _partial(folder: Path) -> bool:
    return any(name.endswith(".partial") for name in _names(folder))


def _writing_in(folder: Path) -> bool:
    return any(name.endswith(".writing") for name in _names(folder))
