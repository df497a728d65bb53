"""What survives when processes are killed."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

import pytest

from felix.cli.config import RaftTimings
from tests.cluster.follower import Follower
from tests.cluster.load import Load, assert_nothing_is_lost
from tests.support.cluster import Cluster, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROUNDS = 20
ROUNDS_OF_ALL = 4
LEADERS_KILLED = 5
FAILOVER_S = 1.0


def wait_for_more(load: Load, count: int) -> None:
    goal = load.count + count
    eventually(lambda: load.count >= goal, 30)


def test_writes_go_on_within_a_second_of_the_leaders_death_and_none_is_lost() -> None:
    pauses: list[float] = []
    with cluster() as three:
        three.make_namespace()
        with Load(three.rpc) as load:
            for _ in range(LEADERS_KILLED):
                wait_for_more(load, 100)
                leader = three.leader()
                killed_at = time.monotonic()
                leader.kill()
                wait_for_more(load, 100)
                pauses.append(longest_pause(load, killed_at))
                three.start()
        print("seconds without a write:", [round(one, 3) for one in pauses])
        three.wait_converged()
        for node in three.nodes:
            assert_nothing_is_lost(load, node)
    assert sorted(pauses)[LEADERS_KILLED // 2] < FAILOVER_S, pauses
    assert max(pauses) < 2 * FAILOVER_S, f"more than one election was needed: {pauses}"


def longest_pause(load: Load, killed_at: float) -> float:
    """From the kill to the first acknowledgement of a write that began after it."""
    return min(end for begun, end in load.spans if begun > killed_at) - killed_at


def test_nothing_acknowledged_is_missing_after_twenty_kills_at_random_moments() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    rounds_of_all = set(chance.sample(range(ROUNDS), ROUNDS_OF_ALL))
    small = RaftTimings(snapshot_entries=2000, trail_entries=500)
    with cluster(raft=small) as three:
        three.make_namespace()
        with Follower(three.nodes) as follower, ExitStack() as stack:
            load = stack.enter_context(Load(three.rpc))
            for number in range(ROUNDS):
                wait_for_more(load, chance.randrange(1, 200))
                kill_some(three, chance, everyone=number in rounds_of_all)
                three.start()
            wait_for_more(load, 50)
            stack.close()
            status = three.wait_converged()
            print(len(load.acknowledged), "acknowledged,", len(load.unknown), "unknown")
            for node in three.nodes:
                assert_nothing_is_lost(load, node)
            follower.assert_in_step_with(status)
            # Who was away for long, while all nodes died, takes a snapshot once more.
            assert follower.heard + follower.skipped == status.version >= len(load.acknowledged)


def kill_some(three: Cluster, chance: random.Random, *, everyone: bool) -> None:
    for node in three.nodes if everyone else [chance.choice(three.nodes)]:
        node.kill()
