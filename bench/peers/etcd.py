"""A cluster of three etcd members with default settings on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.errors import BenchError, RefusedError
from bench.peers import etcd_wire
from bench.peers.etcd_client import (
    Address,
    Connection,
    EtcdPipe,
    EtcdSubscription,
    EtcdWriter,
    call,
    call_over,
)
from bench.ports import free_ports
from bench.systems import NODES, Pipe, Subscription, Work, Writer

_STATUS_TIMEOUT_S = 1.0


class EtcdTarget(msgspec.Struct, frozen=True):
    """How to reach the members."""

    addresses: list[Address]
    system: str = "etcd"

    def _statuses(self) -> list[etcd_wire.Status | None]:
        return [_status(address) for address in self.addresses]

    def leader(self) -> int | None:
        """Number of the member that says it leads."""
        for number, status in enumerate(self._statuses()):
            if status is not None and status.leader_id == status.member_id:
                return number
        return None

    def healthy(self) -> bool:
        """Say whether all members answer, agree, and have applied the newest entry."""
        found = [status for status in self._statuses() if status is not None]
        newest = max((status.raft_index for status in found), default=0)
        return (
            len(found) == len(self.addresses)
            and len({status.leader_id for status in found}) == 1
            and all(status.applied_index == newest for status in found)
        )

    def prepare(self) -> None:
        """Create nothing: keys need no parents."""

    def position(self) -> int:
        """Give 0: a value says which write it was."""
        return 0

    def pipe(self, node: int, work: Work, base: int) -> Pipe:
        """Open a connection that puts."""
        return EtcdPipe(self.addresses[node], work)

    def subscribe(
        self,
        node: int,
        prefix: str,
        base: int,
        count: int,
    ) -> Subscription:
        """Open a connection with one watch."""
        return EtcdSubscription(self.addresses[node], prefix, count)

    def writer(self) -> Writer:
        """Make a client that puts one key at a time."""
        return EtcdWriter(self.addresses)

    def names(self, prefix: str) -> set[str]:
        """Read back all keys under a prefix."""
        request = etcd_wire.range_request(prefix.encode(), keys_only=True)
        answer = call(self.addresses[0], etcd_wire.RANGE, request)
        return {key.decode() for key in etcd_wire.read_keys(answer)}

    def snapshot(self, node: int, prefix: str) -> int:
        """Fetch all keys and values under a prefix in one range over a fresh connection."""
        connection = Connection(self.addresses[node])
        try:
            request = etcd_wire.range_request(prefix.encode())
            return len(etcd_wire.read_keys(call_over(connection, etcd_wire.RANGE, request)))
        finally:
            connection.close()


def _status(address: Address) -> etcd_wire.Status | None:
    try:
        return etcd_wire.read_status(call(address, etcd_wire.STATUS, b"", _STATUS_TIMEOUT_S))
    except (OSError, RefusedError):
        return None


class EtcdCluster:
    """Three etcd processes, each with its data and its log in a folder of its own."""

    def __init__(self, folder: str) -> None:
        program = shutil.which("etcd")
        if program is None:
            raise BenchError("no etcd on the PATH: apt-get install etcd-server (Debian's package)")
        ports = free_ports(2 * NODES)
        clients, peers = ports[:NODES], ports[NODES:]
        members = ",".join(f"n{n}=http://127.0.0.1:{peers[n]}" for n in range(NODES))
        self._folder = Path(folder)
        self._commands = [
            [
                program,
                f"--name=n{n}",
                f"--data-dir={folder}/n{n}",
                f"--listen-client-urls=http://127.0.0.1:{clients[n]}",
                f"--advertise-client-urls=http://127.0.0.1:{clients[n]}",
                f"--listen-peer-urls=http://127.0.0.1:{peers[n]}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{peers[n]}",
                f"--initial-cluster={members}",
                "--initial-cluster-state=new",
            ]
            for n in range(NODES)
        ]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.target = EtcdTarget([("127.0.0.1", port) for port in clients])

    def restart(self, node: int) -> None:
        """Start a member that is new, killed, or told to stop."""
        if node in self._processes:
            self._processes[node].wait()
        settings = {name: text for name, text in os.environ.items() if name[:5] != "ETCD_"}
        with (self._folder / f"n{node}.log").open("ab") as log:
            self._processes[node] = subprocess.Popen(
                self._commands[node], stdout=log, stderr=log, env=settings
            )

    def pids(self) -> list[int]:
        """Process ids, by number."""
        return [self._processes[node].pid for node in range(NODES)]

    def kill(self, node: int) -> float:
        """Kill -9 a member; give the monotonic time just before."""
        before = time.monotonic()
        self._processes[node].kill()
        self._processes[node].wait()
        return before

    def terminate(self, node: int) -> float:
        """Tell a member to stop; give the monotonic time just before."""
        before = time.monotonic()
        self._processes[node].terminate()
        return before

    def stop(self) -> None:
        """Kill all members: their data is thrown away, and a polite end takes seconds."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()


@contextmanager
def launch(folder: str) -> Iterator[EtcdCluster]:
    """Run a fresh cluster in an empty folder."""
    cluster = EtcdCluster(folder)
    try:
        for node in range(NODES):
            cluster.restart(node)
        yield cluster
    finally:
        cluster.stop()
