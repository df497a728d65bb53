"""`felix-controlplane dev` in a process: started, waited for, and ended with its nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from bench.errors import BenchError
from bench.ports import free_ports
from bench.systems import NODES

FELIX = [sys.executable, "-m", "felix"]
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05
_START_TIMEOUT_S = 60.0
_PORTS = 10 * NODES


class _HasPid(Protocol):
    @property
    def pid(self) -> int: ...


class _HasNodes(Protocol):
    @property
    def nodes(self) -> Sequence[_HasPid]: ...


Ready = TypeVar("Ready", bound=_HasNodes)


@contextmanager
def running_dev(folder: str, kind: type[Ready], *options: str) -> Iterator[Ready]:
    """Run a fresh cluster in an empty folder, and give its ready file, read as a record.

    Raises: BenchError, when it does not come up.
    """
    ready, log_path = Path(folder) / "ready.json", Path(folder) / "dev.log"
    command = [*FELIX, "dev", f"--nodes={NODES}", "--brokers=0", *options]
    command += [f"--data-dir={folder}", f"--ready-file={ready}"]
    command += [f"--base-port={free_ports(_PORTS)[0]}"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    pids: list[int] = []
    try:
        found = _wait_ready(process, ready, log_path, kind)
        pids = [node.pid for node in found.nodes]
        yield found
    finally:
        process.terminate()
        if not ended_by_itself(process):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def ended_by_itself(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a process that has been told to end; kill it when it does not."""
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def _wait_ready(
    process: subprocess.Popen[bytes], ready: Path, log: Path, kind: type[Ready]
) -> Ready:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(FileNotFoundError):
            return msgspec.json.decode(ready.read_bytes(), type=kind)
        time.sleep(POLL_S)
    raise BenchError(f"felix-controlplane dev is not up:\n{log.read_text(errors='replace')}")
