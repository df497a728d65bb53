"""The one way a measurement fails."""

from __future__ import annotations


class BenchError(Exception):
    """A measurement could not be taken, or what was measured broke a promise."""


class RefusedError(BenchError):
    """The system under test answered with an error, or not in time."""
