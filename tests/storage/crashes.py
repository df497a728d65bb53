"""File and database operations of which the n-th never returns, and what a crash leaves of them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from felix.storage.files import DiskOperations


class Crash(BaseException):
    """The process is gone. No handler of ours may catch it."""


class Countdown:
    """Crashes before the n-th step; by default never."""

    def __init__(self, steps_left: int | None = None) -> None:
        self.steps_left = steps_left
        self.steps = 0

    def step(self, crashing: Callable[[], None] = lambda: None) -> None:
        """Take a step, or call `crashing` and crash."""
        if self.steps_left == self.steps:
            crashing()
            raise Crash
        self.steps += 1


class CrashingConnection(sqlite3.Connection):
    """Crashes before or after a statement; what the kernel then has is copied to `wreck`."""

    def watch(self, countdown: Countdown, folder: Path, wreck: Path) -> None:
        """Begin to count."""
        self._countdown = countdown
        self._folder, self._wreck = folder, wreck

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Do it, unless the process crashes before; and perhaps it crashes behind."""
        return self._between(super().execute, arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """The same."""
        return self._between(super().executemany, arguments)

    def _copy(self) -> None:
        shutil.copytree(self._folder, self._wreck)

    def _between(
        self, method: Callable[..., sqlite3.Cursor], arguments: Iterable[Any]
    ) -> sqlite3.Cursor:
        if not hasattr(self, "_countdown"):
            return method(*arguments)
        self._countdown.step(self._copy)
        done = method(*arguments)
        self._countdown.step(self._copy)
        return done


class CrashingOperations(DiskOperations):
    """Crashes before the n-th operation, by a kill or by a power cut.

    After a power cut nothing is there but what was synced: files end where they were synced last,
    and names changed since the last sync of the folder are as before.
    """

    def __init__(self, countdown: Countdown) -> None:
        self._countdown = countdown
        self._contents: dict[int, bytes] = {}
        """What the disk itself holds of every file, by its inode."""
        self._names: dict[Path, bytes] = {}
        """What it holds under every name."""
        self._files: list[BinaryIO] = []

    def kill(self) -> None:
        """Let go of what the process had open."""
        for file in self._files:
            file.close()

    def power_cut(self, folder: Path) -> None:
        """Forget what was not synced."""
        self.kill()
        for path in folder.iterdir():
            path.unlink()
        for path, data in self._names.items():
            path.write_bytes(data)

    def create(self, path: Path) -> BinaryIO:
        """Open a new, empty file."""
        self._countdown.step()
        self._files.append(super().create(path))
        return self._files[-1]

    def go_on(self, path: Path) -> BinaryIO:
        """Open a file to write behind what is there."""
        self._countdown.step()
        self._files.append(super().go_on(path))
        return self._files[-1]

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Add to a file; a crash may come in the middle."""
        self._countdown.step()
        super().write(file, data[: len(data) // 2])
        file.flush()
        self._countdown.step()
        super().write(file, data[len(data) // 2 :])

    def sync(self, file: BinaryIO) -> None:
        """Make a file's content durable."""
        self._countdown.step()
        super().sync(file)
        path = Path(file.name)
        self._contents[path.stat().st_ino] = path.read_bytes()

    def rename(self, path: Path, to: Path) -> None:
        """Give a file its name."""
        self._countdown.step()
        super().rename(path, to)

    def delete(self, path: Path) -> None:
        """Delete a file."""
        self._countdown.step()
        super().delete(path)

    def sync_folder(self, folder: Path) -> None:
        """Make names durable, and with them what was synced of the files."""
        self._countdown.step()
        super().sync_folder(folder)
        self._names = {
            path: self._contents.get(path.stat().st_ino, b"") for path in folder.iterdir()
        }
