"""Which backups of a folder stay, and which go."""

from __future__ import annotations

import calendar
import re
import time
from pathlib import Path
from typing import Final

from felix.recovery.directory import sync_folder
from felix.recovery.errors import Refused

_STAMP: Final = "%Y%m%dT%H%M%SZ"
_BACKUP: Final = re.compile(r"felix-\d{8}T\d{6}Z\.backup", re.ASCII)
_PARTIAL: Final = re.compile(r"(felix-\d{8}T\d{6}Z\.backup)\.\w+\.part", re.ASCII)
_PARTIAL_AGE_S: Final = 86_400
"""What has not got its name after so long was left by a command that was killed."""


def name_of(now_s: float) -> str:
    """Name a backup of that moment (seconds since 1970): names sort as the times do."""
    return time.strftime(f"felix-{_STAMP}.backup", time.gmtime(now_s))


def drop_older(newest: Path, keep: int) -> list[Path]:
    """Remove all backups beside `newest` but the `keep - 1` last ones; give those that went.

    `newest` was just made and verified; it stays, whatever the clock said when the others were
    made. What is named otherwise is somebody else's. Raises: Refused, OSError.
    """
    assert keep >= 1
    if not _BACKUP.fullmatch(newest.name) or not newest.is_file():
        raise Refused(f"{newest} is no backup: nothing is removed")
    names = {one.name for one in newest.parent.iterdir() if one.is_file() and not one.is_symlink()}
    others = sorted(name for name in names if _BACKUP.fullmatch(name) and name != newest.name)
    gone = others[: max(0, len(others) - (keep - 1))]
    dropped = [newest.parent / name for name in (*gone, *_forgotten(names, newest.name))]
    for one in dropped:
        one.unlink()
    sync_folder(newest.parent)
    return dropped


def _forgotten(names: set[str], newest: str) -> list[str]:
    """List what commands that were killed a day ago or more have begun."""
    before = name_of(_time_of(newest) - _PARTIAL_AGE_S)
    partials = [(name, _PARTIAL.fullmatch(name)) for name in sorted(names)]
    return [name for name, found in partials if found is not None and found[1] < before]


def _time_of(name: str) -> float:
    return calendar.timegm(time.strptime(name, f"felix-{_STAMP}.backup"))
