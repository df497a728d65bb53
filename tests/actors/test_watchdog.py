"""When a watchdog barks, and when not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from felix.actors.ending import EXIT_STALLED
from felix.actors.watchdog import Pulse, Watchdog, stacks
from tests.support.cluster import process_state
from tests.support.waiting import eventually

LIMIT_S = 0.3
A_PROCESS = f"""
import sys, threading, time
from felix.actors.watchdog import Pulse, Watchdog
pulse = Pulse()
def beat():
    while not stop.wait(0.01):
        pulse.beats += 1
stop = threading.Event()
threading.Thread(target=beat, name="consensus", daemon=True).start()
Watchdog(pulse, {LIMIT_S}).start()
print("up", flush=True)
for line in sys.stdin:
    if line == "hang\\n":
        stop.set()
    print(pulse.beats, flush=True)
"""


def test_it_barks_once_no_beat_has_come_for_so_long() -> None:
    barked = threading.Event()
    Watchdog(Pulse(), 0.05, lambda _: barked.set()).start()
    assert barked.wait(10)


def test_it_does_not_bark_while_there_are_beats() -> None:
    pulse, barks = Pulse(), list[float]()
    watchdog = Watchdog(pulse, LIMIT_S, barks.append)
    watchdog.start()

    def beat_for_long() -> bool:
        pulse.beats += 1
        return time.monotonic() > begun + 3 * LIMIT_S

    begun = time.monotonic()
    eventually(beat_for_long)
    watchdog.stop()
    assert barks == []


def test_the_report_names_what_every_thread_is_doing() -> None:
    release = threading.Event()

    def wait_for_the_disk() -> None:
        release.wait()

    hanging = threading.Thread(target=wait_for_the_disk)
    hanging.start()
    try:
        assert b"wait_for_the_disk" in stacks()
    finally:
        release.set()
        hanging.join()


def wait_for(seconds: float) -> None:
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + seconds)


@pytest.mark.slow
def test_a_process_that_was_stopped_is_spared_and_one_that_hangs_is_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", A_PROCESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "up\n"
            for _ in range(3):
                os.kill(process.pid, signal.SIGSTOP)
                eventually(lambda: process_state(process.pid) == "T")
                wait_for(3 * LIMIT_S)
                os.kill(process.pid, signal.SIGCONT)
                process.stdin.write("there?\n")
                process.stdin.flush()
                assert process.stdout.readline() != ""
            process.stdin.write("hang\n")
            process.stdin.flush()
            assert process.wait(20) == EXIT_STALLED
            report = process.stderr.read()
            assert "consensus stood still for 0.3 s" in report
            assert "Thread 0x" in report
        finally:
            process.kill()
