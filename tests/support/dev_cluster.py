"""A whole cluster with closed doors, as `felix-controlplane dev` runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from felix.cli.dev import ReadyFile
from felix.cli.dev_nodes import PORTS_PER_NODE
from tests.support.cluster import free_ports
from tests.support.waiting import eventually

AUDIENCE: Final = "felix-controlplane"
START_S: Final = 60.0


@contextmanager
def running_dev(
    folder: Path, nodes: int, brokers: int
) -> Iterator[tuple[subprocess.Popen[bytes], ReadyFile, Path]]:
    """Run it until the block ends; give the process, its ready file, and what it prints."""
    ready, output = folder / "ready.json", folder / "output"
    command = [sys.executable, "-m", "felix", "dev", "--nodes", str(nodes), "--brokers"]
    command += [str(brokers), "--data-dir", str(folder / "data"), "--ready-file", str(ready)]
    command += ["--base-port", str(free_ports(nodes * PORTS_PER_NODE)[0])]
    with output.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            eventually(lambda: ready.exists() or process.poll() is not None, START_S)
            assert process.poll() is None, output.read_text()
            yield process, msgspec.json.decode(ready.read_bytes(), type=ReadyFile), output
        except BaseException:
            print(output.read_text())
            raise
        finally:
            process.terminate()  # its nodes end with it, also when it was told before
            process.wait(60)
