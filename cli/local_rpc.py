"""The socket on which a node answers whoever may enter its data directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOCKET_PATH_BYTES_MAX: Final = 100
"""Linux takes 107."""


def socket_in(data_dir: Path) -> Path | None:
    """Say where the socket is that others on this machine find; None: that path is too long."""
    path = data_dir.absolute() / "rpc.sock"
    return path if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX else None


@contextlib.contextmanager
def local_rpc(data_dir: Path) -> Iterator[str]:
    """Find a place for the socket that the HTTP processes ask.

    In the data directory, where a node that was killed finds it again; in a folder of its own where
    that path is too long for a socket.
    """
    path = socket_in(data_dir)
    if path is not None:
        yield f"ipc://{path}"
        path.unlink(missing_ok=True)
        return
    folder = tempfile.mkdtemp(prefix="felix-")
    try:
        yield f"ipc://{folder}/rpc.sock"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
