"""Runs a node whose wall clock a test can step: `python -m tests.support.clock_node serve --config
FILE`. How far off it is stands in a file beside its configuration."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.nemesis import stepped_clock
from tests.support.cluster import RunningNode


def step_clock(node: RunningNode, offset_s: float) -> None:
    """Let a node's wall clock be off by so much; before its start, and while it runs."""
    stepped_clock.step(_file_of(node.config_file), offset_s)


def _file_of(config_file: Path) -> Path:
    return config_file.with_suffix(".clock")


if __name__ == "__main__":
    sys.argv.insert(1, str(_file_of(Path(sys.argv[sys.argv.index("--config") + 1]))))
    stepped_clock.main()
