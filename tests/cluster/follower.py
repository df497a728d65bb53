"""A broker that writes down everything it hears, and can prove that it heard it right."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from felix.proto.queries import ClusterStatus
from felix.proto.updates import MetadataUpdate
from felix.transport.client import BrokerClient
from felix.transport.curve import ClientCurve
from felix.transport.sync_records import UpdateInfo
from felix.transport.view import MetadataView
from tests.support.cluster import RunningNode


class Follower:
    """A `BrokerClient` with its own record of versions and lags."""

    def __init__(self, nodes: Sequence[RunningNode], curve: ClientCurve | None = None) -> None:
        self.heard = 0
        """Updates it was called back for."""
        self.snapshots: list[int] = []
        """Versions of the views that replaced what it had."""
        self.skipped = 0
        """Updates that it was not called back for, because a snapshot held them."""
        self.lags_s: list[float] = []
        """From the commit to the callback, of updates that were pushed."""
        self.faults: list[str] = []
        self.gate = threading.Event()
        """While it is not set, the callback does not return: the broker is starved."""
        self.gate.set()
        self._at = 0
        self.client = BrokerClient(
            [node.endpoints for node in nodes],
            on_update=self._on_update,
            on_snapshot=self._on_snapshot,
            failed=lambda _, error: self.faults.append(repr(error)),
            curve=curve,
        )

    def __enter__(self) -> Self:
        self.client.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.gate.set()
        self.client.close()

    def _on_update(self, update: MetadataUpdate, info: UpdateInfo) -> None:
        self.gate.wait(120)
        if update.version != self._at + 1:
            self.faults.append(f"version {update.version} came after {self._at}")
        self._at = update.version
        self.heard += 1
        if info.time_us:
            self.lags_s.append(time.time_ns() / 1e9 - info.time_us / 1e6)

    def _on_snapshot(self, view: MetadataView) -> None:
        if view.version < self._at:
            self.faults.append(f"a snapshot took it back from {self._at} to {view.version}")
        self.skipped += view.version - self._at
        self._at = view.version
        self.snapshots.append(view.version)

    def assert_in_step_with(self, status: ClusterStatus, timeout_s: float = 30.0) -> None:
        """Check that it ends where the cluster is, and that every version came once, in order."""
        assert self.client.wait_version(status.version, timeout_s), self.client.statistics()
        assert not self.faults, self.faults
        view = self.client.view
        assert (view.epoch, view.version, view.digest) == (
            status.epoch,
            status.version,
            status.digest,
        )
        assert self._at == status.version
