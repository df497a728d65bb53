"""How a node process ends when it cannot go on: at once, with a reason, whatever else hangs."""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
from typing import Final, NoReturn

from felix.proto.levels import EXIT_TOO_OLD, TooOld
from felix.storage.errors import StorageError

EXIT_ACTOR_FAILED: Final = 70
"""Something failed without which there is no node: a bug, or the disk."""
EXIT_STALLED: Final = 72
"""The thread of consensus stood still: a disk that hangs."""
STDERR: Final = 2
LAST_WORDS_S: Final = 1.0
"""How long the report may take: where it goes to may be the very disk that hangs, or is full."""


def end_failed(name: str, error: BaseException) -> NoReturn:
    """End the process because an actor failed. The disk's own refusals need no traceback."""
    if isinstance(error, TooOld):
        end(EXIT_TOO_OLD, f"felix-controlplane: {error}\n".encode())
    lines = [f"felix-controlplane: {name} failed, the node cannot go on: {error}\n"]
    if not isinstance(error, StorageError):
        lines += traceback.format_exception(error)
    end(EXIT_ACTOR_FAILED, "".join(lines).encode())


def end(code: int, report: bytes) -> NoReturn:
    """End the process with an exit code, and a report if it can be written."""
    writer = threading.Thread(target=_write, args=(report,), daemon=True)
    writer.start()
    writer.join(LAST_WORDS_S)
    os._exit(code)


def _write(report: bytes) -> None:
    with contextlib.suppress(OSError):
        while report:
            report = report[os.write(STDERR, report) :]
