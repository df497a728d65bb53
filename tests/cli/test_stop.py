"""Signals that come while a node is being started, stopped, or starts anew."""

from __future__ import annotations

import os
import signal

from felix.actors.consensus import MustStop
from felix.cli.serve import _stop_signals


def test_a_signal_outlives_the_node_that_was_running_when_it_came() -> None:
    with _stop_signals() as stop:
        stop.must_stop(MustStop("diverged", "a state went wrong"))
        stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        stop.begin_life()
        assert stop.was_signalled
        stop.wait()  # at once


def test_what_actors_of_an_earlier_life_said_does_not_end_the_next() -> None:
    with _stop_signals() as stop:
        for _ in range(3):
            stop.must_stop(MustStop("diverged", "a state went wrong"))
        stop.begin_life()
        assert stop.why is None
        assert not stop.was_signalled
        stop.must_stop(MustStop("removed", "it was removed"))
        stop.wait()
        assert stop.why is not None
