"""`felix-controlplane` as an operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys


def felix(*arguments: object, code: int = 0) -> str:
    """Run one command, hold its exit code against the one expected, give what it wrote."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("FELIX_")}
    done = subprocess.run(
        [sys.executable, "-m", "felix", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
        check=False,
    )
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr
