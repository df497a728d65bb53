"""Runs a node whose wall clock can be stepped while it runs: `python -m tests.nemesis.stepped_clock
FILE ARGUMENTS...`. FILE holds the nanoseconds to add, eight bytes, in the machine's order.

A node uses the wall clock for stamps only, through `time.time` and `time.time_ns`; so it is enough
to replace these two. libfaketime would do it for all of libc, but with its monotonic clock left
alone (and consensus needs that one) `time.sleep` of Python fails under it with EINVAL.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

FORMAT = struct.Struct("=q")


def step(path: Path, offset_s: float) -> None:
    """Let the node's wall clock be off by so much from now on."""
    if not path.exists():
        path.write_bytes(FORMAT.pack(0))
    with path.open("r+b") as file:
        file.write(FORMAT.pack(int(offset_s * 1e9)))


def main() -> None:
    """Replace the wall clock, then become `python -m felix`."""
    path = Path(sys.argv.pop(1))
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), FORMAT.size, access=mmap.ACCESS_READ)
    true_ns = time.time_ns

    def time_ns() -> int:
        return int(true_ns() + FORMAT.unpack_from(memory)[0])

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
    runpy.run_module("felix", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
