"""Where tests that sync thousands of times do it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

IN_MEMORY = Path("/dev/shm")
"""Syncing costs nothing there."""


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder for all tests of a module."""
    place = IN_MEMORY if IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="felix-test-", dir=place) as path:
        yield Path(path)


@pytest.fixture
def folder(scratch: Path) -> Iterator[Path]:
    """A folder of a test's own."""
    with tempfile.TemporaryDirectory(dir=scratch) as path:
        yield Path(path)
