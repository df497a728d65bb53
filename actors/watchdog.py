"""Ends a process whose consensus stands still, which is what a disk that hangs looks like.

The thread that writes the journal also sends the heartbeats, so a leader with such a disk is
deposed by the others within an election timeout. What is left is a node that answers nobody and
looks alive: it ends, and whatever runs it can start it anew or elsewhere.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable
from typing import Final

from felix.actors.ending import EXIT_STALLED, end

CHECKS: Final = 12
"""So many times the watchdog looks within the time that consensus may stand still."""
REPORT_BYTES_MAX: Final = 64 << 10
"""What a pipe holds."""


class Pulse:
    """Beats once for every turn of the clock in the thread of consensus."""

    __slots__ = ("beats",)

    def __init__(self) -> None:
        self.beats = 0


class Watchdog:
    """A thread that listens to a pulse."""

    def __init__(
        self,
        pulse: Pulse,
        limit_s: float,
        stalled: Callable[[float], None] | None = None,
    ) -> None:
        """`stalled` is called when no beat came for `limit_s`; by default it ends the process.

        Only moments at which the watchdog ran itself count: a process that was stopped, or a
        machine that was suspended, has missed none of them.
        """
        self._pulse = pulse
        self._limit_s = limit_s
        self._stalled = stalled or _end_stalled
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()

    def _run(self) -> None:
        heard, missed = self._pulse.beats, 0
        while not self._stopping.wait(self._limit_s / CHECKS):
            beats = self._pulse.beats
            missed = missed + 1 if beats == heard else 0
            heard = beats
            if missed >= CHECKS:
                self._stalled(self._limit_s)
                return


def _end_stalled(limit_s: float) -> None:
    report = (
        f"felix-controlplane: consensus stood still for {limit_s:.1f} s, as it does when the disk "
        "hangs; the node ends\n"
    )
    end(EXIT_STALLED, report.encode() + stacks())


def stacks() -> bytes:
    """Write down what every thread is doing."""
    reading, writing = os.pipe()
    # The writer of this holds the interpreter: it must not wait for a reader.
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    try:
        faulthandler.dump_traceback(writing, all_threads=True)
        return os.read(reading, REPORT_BYTES_MAX)
    finally:
        os.close(writing)
        os.close(reading)
