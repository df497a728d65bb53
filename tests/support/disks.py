"""Real disks that are small or fail: a tmpfs, and a loop device that shrinks below its files."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_SIZE_LIMIT_AT = 32
"""Of `lo_sizelimit` in `struct loop_info64` (linux/loop.h)."""
_INFO_BYTES = 232
_LOOP_SET_STATUS64, _LOOP_GET_STATUS64 = 0x4C04, 0x4C05


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def _run_or_skip(*command: str | Path) -> str:
    try:
        return _run(*command)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine does not let a test make a disk of its own: {error}")


@contextmanager
def small_disk(at: Path, size_mb: int) -> Iterator[None]:
    """Put a tmpfs there."""
    at.mkdir(parents=True, exist_ok=True)
    _run_or_skip("mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=700", "tmpfs", at)
    try:
        yield
    finally:
        _run("umount", at)


def fill(disk: Path, leaving_mb: float = 0) -> Path:
    """Write a file until only so much is free; give the file."""
    ballast = disk / "ballast"
    with ballast.open("ab") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - int(leaving_mb * 1e6)
        os.posix_fallocate(file.fileno(), 0, ballast.stat().st_size + max(free, 1))
    return ballast


class FailingDisk:
    """An ext4 on a loop device. Made smaller than it is, its writes end with EIO.

    The kernel reports that to one fsync, and the next one says that all is well.
    """

    def __init__(self, at: Path, device: str) -> None:
        self.at = at
        self._device = device

    def fail(self) -> None:
        """Let every write fail from now on."""
        self._limit(1 << 20)

    def mend(self) -> None:
        """Let writes succeed; what was not written stays lost."""
        _run("umount", self.at)
        self._limit(0)
        _run("mount", self._device, self.at)

    def _limit(self, size_bytes: int) -> None:
        device = os.open(self._device, os.O_RDWR)
        try:
            info = bytearray(_INFO_BYTES)
            fcntl.ioctl(device, _LOOP_GET_STATUS64, info)
            struct.pack_into("<Q", info, _SIZE_LIMIT_AT, size_bytes)
            fcntl.ioctl(device, _LOOP_SET_STATUS64, bytes(info))
        finally:
            os.close(device)


@contextmanager
def failing_disk(at: Path, size_mb: int = 64) -> Iterator[FailingDisk]:
    """Put such a disk there."""
    at.mkdir(parents=True, exist_ok=True)
    image = at.with_name(at.name + ".img")
    with ExitStack() as stack:
        image.touch()
        stack.callback(image.unlink)
        os.truncate(image, size_mb << 20)
        _run_or_skip("mkfs.ext4", "-q", image)
        device = _run_or_skip("losetup", "--find", "--show", image)
        stack.callback(_run, "losetup", "--detach", device)
        _run_or_skip("mount", device, at)
        stack.callback(_run, "umount", at)
        (at / "lost+found").rmdir()
        yield FailingDisk(at, device)
