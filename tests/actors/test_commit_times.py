"""How long commits took lately, in windows of ten seconds."""

from __future__ import annotations

import random

import pytest

from felix.core.commit_times import WINDOW_S, WINDOWS_MAX, CommitTimes
from felix.proto.queries import CommitWindow

START_S = 5_000.0


def test_a_window_says_how_many_commits_there_were_and_how_long_they_took() -> None:
    times = CommitTimes()
    for ms in range(1, 101):
        times.add(ms / 1000, START_S + ms / 1000)
    (window,) = times.windows(START_S + 1)
    assert (window.commits, window.max_us) == (100, 100_000)
    assert window.p50_us == pytest.approx(50_000, rel=0.05)
    assert window.p99_us == pytest.approx(99_000, rel=0.05)


def test_windows_without_commits_are_there_and_empty() -> None:
    times = CommitTimes()
    times.add(0.001, START_S)
    times.add(0.002, START_S + 3 * WINDOW_S)
    assert [one.commits for one in times.windows(START_S + 4 * WINDOW_S)] == [1, 0, 0, 1, 0]


def test_a_commit_slower_than_all_buckets_is_told_by_its_own_time() -> None:
    times = CommitTimes()
    times.add(60.0, START_S)
    (window,) = times.windows(START_S)
    assert window == CommitWindow(
        commits=1, p50_us=60_000_000, p99_us=60_000_000, max_us=60_000_000
    )


def test_what_is_older_than_all_windows_is_forgotten_also_after_a_long_silence() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    times, now_s, added = CommitTimes(), START_S, []
    for _ in range(500):
        now_s += chance.choice([0.1, 1.0, 9.0, 35.0])
        times.add(0.001, now_s)
        added.append(now_s)
    first = now_s // WINDOW_S - (WINDOWS_MAX - 1)
    windows = times.windows(now_s)
    assert len(windows) == WINDOWS_MAX
    assert sum(one.commits for one in windows) == sum(at // WINDOW_S >= first for at in added)
    quiet = times.windows(now_s + 10 * WINDOWS_MAX * WINDOW_S)
    assert len(quiet) == WINDOWS_MAX
    assert not any(one.commits for one in quiet)
