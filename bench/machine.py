"""What the figures were taken on, and who else was using it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 1 << 20


def describe(folder: Path) -> str:
    """Name processor, cores, kernel, interpreter and the file system under a folder."""
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory_gib = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES / (1 << 30)
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, data on {file_system(folder)}; "
        "nodes and clients share the machine, loopback, processes not pinned to cores"
    )


def file_system(folder: Path) -> str:
    """Name the type of the file system a folder is on."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        mount, kind = line.split()[1:3]
        if folder.absolute().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


class Spent(msgspec.Struct, frozen=True):
    """Processor time since boot, in seconds of one core."""

    at: float
    machine_s: float
    """By everybody."""
    ours_s: float
    """By this process, its descendants, and those of them that have ended."""


def spent() -> Spent:
    """Read the meters."""
    line = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, line.split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    ours = _descendant_ticks(_processes(), os.getpid())
    return Spent(time.monotonic(), busy / _TICKS_PER_S, ours / _TICKS_PER_S)


def foreign_percent(before: Spent, after: Spent) -> float:
    """Give the share of the machine that other programs took between two readings."""
    elapsed_s = (after.at - before.at) * (os.cpu_count() or 1)
    others_s = (after.machine_s - before.machine_s) - (after.ours_s - before.ours_s)
    return max(0.0, 100 * others_s / elapsed_s)


class _Process(msgspec.Struct, frozen=True):
    parent: int
    ticks: int


def _processes() -> dict[int, _Process]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                fields = stat.rpartition(")")[2].split()
                found[int(entry.name)] = _Process(int(fields[1]), sum(map(int, fields[11:15])))
    return found


def descendants(root: int) -> list[int]:
    """List the processes below one."""
    return _family(_processes(), root)[1:]


def _descendant_ticks(processes: dict[int, _Process], root: int) -> int:
    return sum(processes[pid].ticks for pid in _family(processes, root) if pid in processes)


def _family(processes: dict[int, _Process], root: int) -> list[int]:
    """List a process and those below it."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Add up the processor time of processes, in nanoseconds' resolution."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_mib(pids: Iterable[int]) -> list[float]:
    """Give the resident memory of processes."""
    sizes = []
    for pid in pids:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
        sizes.append(pages * _PAGE_BYTES / _MIB)
    return sizes
