"""Run all tests: those of pure code beside those with processes of their own, which mostly wait.

The pure ones get what the others leave of the processors, so that they do not make anybody late
who is timed. What they say comes at the end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from typing import Final

_PYTEST: Final = (sys.executable, "-m", "pytest")
PURE: Final = (
    *("nice", "-n", "19", *_PYTEST, "-m", "not slow"),
    *("-p", "no:cacheprovider"),  # the others' cache is in use
    *("-o", "timeout=600", "-o", "faulthandler_timeout=300"),  # they may have to stand back
)
SLOW: Final = (*_PYTEST, "-m", "slow")


def run_both(in_front: tuple[str, ...], beside: tuple[str, ...]) -> int:
    """Run two commands at once; 0 if both end with 0. What the second one says comes last."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(beside, stdout=said, stderr=subprocess.STDOUT) as second,
    ):
        try:
            failed = subprocess.run(in_front, check=False).returncode
            failed = second.wait() or failed
        finally:
            second.kill()
            said.seek(0)
            shutil.copyfileobj(said, sys.stdout.buffer)
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_both(SLOW, PURE))
