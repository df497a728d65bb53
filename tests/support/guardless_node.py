"""Runs `felix-controlplane` whose key guard fails when it is told to: `python -m` this.

A file beside the data directory says so: `guard-fails` by an error, `guard-stops` by an end that
nobody is told of.
"""

from __future__ import annotations

from typing import Any

from felix.actors import node
from felix.actors.key_guard import KeyGuard
from felix.cli.server import main

FAILS, STOPS = "guard-fails", "guard-stops"


class FaultyGuard(KeyGuard):
    """Looks for the files each time that it is asked."""

    def on_receive(self, message: object) -> Any:
        folder = self._curve.allowed.path.parent
        if (folder / STOPS).exists():
            self.stop()
            return None
        if (folder / FAILS).exists():
            error = RuntimeError("told to fail")
            self._failed(self, error)
            raise error
        return super().on_receive(message)


if __name__ == "__main__":
    vars(node)["KeyGuard"] = FaultyGuard
    main()
