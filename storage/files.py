"""The file operations of which a crash may come between any two.

An object of its own so that a test can put one in its place that stops at the n-th operation.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Protocol


class FileOperations(Protocol):
    """What is done to files, in steps that are each done or not done."""

    def create(self, path: Path) -> BinaryIO:
        """Open a new, empty file for writing."""
        ...

    def go_on(self, path: Path) -> BinaryIO:
        """Open a file for reading, and for writing behind what is there."""
        ...

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Add to a file."""
        ...

    def sync(self, file: BinaryIO) -> None:
        """Make what was written durable."""
        ...

    def rename(self, path: Path, to: Path) -> None:
        """Give a file its name, replacing one that has it."""
        ...

    def delete(self, path: Path) -> None:
        """Delete a file, if it is there."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Make new, changed and deleted names durable."""
        ...


class DiskOperations:
    """See `FileOperations`; on the disk."""

    def create(self, path: Path) -> BinaryIO:
        """Open a new, empty file for writing."""
        return path.open("wb")

    def go_on(self, path: Path) -> BinaryIO:
        """Open a file for reading, and for writing behind what is there."""
        return path.open("a+b")

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Add to a file."""
        file.write(data)

    def sync(self, file: BinaryIO) -> None:
        """Make what was written durable."""
        file.flush()
        os.fsync(file.fileno())

    def rename(self, path: Path, to: Path) -> None:
        """Give a file its name."""
        path.rename(to)

    def delete(self, path: Path) -> None:
        """Delete a file, if it is there."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Make names durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
