"""Nodes with a disk, a clock and a place in the network of their own, as the nemesis needs them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from felix.cli.config import Config, HttpConfig
from tests.nemesis import stepped_clock
from tests.nemesis.network import Network
from tests.support.cluster import Cluster, RunningNode, make_configs

DISK_BYTES: Final = 448 << 20
"""An empty one has more room than a node wants before it forgets that the disk was nearly full."""
ROOT: Final = Path(__file__).resolve().parents[2]


class Machine(RunningNode):
    """A node and what it runs on."""

    def __init__(self, config: Config, folder: Path, network: Network, *, own_disk: bool) -> None:
        """With `own_disk` the data is on a small file system in memory (needs root)."""
        super().__init__(config, folder)
        self.has_own_disk = own_disk
        self.may_end = False
        """While a fault that may end the process goes on."""
        self._network = network
        self._clock = folder / "clock"
        self._disk = self.data_dir.parent
        self._disk.mkdir()
        if own_disk:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self._disk)]
            subprocess.run(mount, check=True)
        stepped_clock.step(self._clock, 0)

    def start(self) -> None:
        """Start the process in its place; returns at once."""
        assert not self.is_running
        command = [
            *self._network.backend.command(self.name),
            *(sys.executable, "-m", "tests.nemesis.stepped_clock", str(self._clock)),
            *("serve", "--config", str(self.config_file)),
        ]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("FELIX_")
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment | {"TMPDIR": str(self.scratch), "PYTHONFAULTHANDLER": "1"},
                start_new_session=True,
            )
        self.is_paused = False
        self._network.backend.know(self.name, self._process.pid)

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        super().kill()

    def terminate(self) -> None:
        """SIGTERM; returns at once."""
        super().terminate()

    def step_clock(self, offset_s: float) -> None:
        """Let the wall clock be off by so much."""
        stepped_clock.step(self._clock, offset_s)

    def fill_disk(self, left_bytes: int) -> None:
        """Leave so much room on the disk."""
        assert self.has_own_disk
        with (self._disk / "ballast").open("wb") as ballast:
            size = 1 << 20
            while size >= 4096:
                try:
                    os.posix_fallocate(ballast.fileno(), ballast.tell(), size)
                    ballast.seek(size, os.SEEK_CUR)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
            ballast.truncate(max(0, ballast.tell() - left_bytes))

    def clear_disk(self) -> None:
        """Make room again."""
        (self._disk / "ballast").unlink(missing_ok=True)

    def release(self) -> None:
        """End the process and give the disk back."""
        self.kill()
        if self.has_own_disk:
            subprocess.run(["umount", str(self._disk)], check=True)


def make_machines(
    folder: Path, count: int, network: Network, *, own_disks: bool
) -> tuple[Cluster, list[Machine]]:
    """Put nodes together; none is started yet."""
    configs = [
        msgspec.structs.replace(
            config,
            data_dir=str(folder / config.name / "disk" / "data"),
            http=HttpConfig(enabled=False),
        )
        for config in make_configs(folder, count)
    ]
    machines = [
        Machine(config, folder / config.name, network, own_disk=own_disks)
        for config in network.backend.place(configs)
    ]
    return Cluster(list(machines)), machines


def leader_of(machines: Sequence[Machine]) -> Machine | None:
    """Find the node that leads in the newest term, among those that answer."""
    leaders: list[tuple[int, Machine]] = []
    for machine in machines:
        if not machine.is_running or machine.is_paused:
            continue
        status = machine.status(timeout_s=0.5)
        if status is not None and status.leader_id == status.node_id:
            leaders.append((status.term, machine))
    return max(leaders, key=lambda one: one[0])[1] if leaders else None
