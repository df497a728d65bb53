"""Watches the space on the disk, so that a node says no before the disk does."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Final

import msgspec
import structlog

from felix.proto.command import Command
from felix.proto.commands import (
    ApplyManifests,
    DeleteBrokerCredential,
    DeleteCache,
    DeleteIssuer,
    DeleteNamespace,
    DeleteStream,
    DeleteTenant,
    RetireSigningKey,
    RevokeTokens,
)
from felix.proto.errors import DiskFull
from felix.proto.placement_commands import (
    ChangeBrokerStatus,
    ChangeInSync,
    DeleteBridge,
    DeregisterBroker,
    PurgeStream,
    RemoveBroker,
)
from felix.proto.setting_commands import DeleteFeatureFlag, DeleteSetting

CHECK_S: Final = 1.0
CLEAR_FACTOR: Final = 1.5
"""So many times the low-water mark must be free before writes are taken again."""
MB: Final = 1_000_000
RETRY_AFTER_MS: Final = 5000
FREEING: Final = (
    DeleteBridge,
    DeleteBrokerCredential,
    DeleteCache,
    DeleteFeatureFlag,
    DeleteIssuer,
    DeleteNamespace,
    DeleteSetting,
    DeleteStream,
    DeleteTenant,
    PurgeStream,
    RemoveBroker,
)
"""Commands after which there is less to keep."""
CLOSING: Final = (RetireSigningKey, RevokeTokens)
"""Commands that shut somebody out: no disk is too full for that."""
SERVING: Final = (ChangeBrokerStatus, ChangeInSync, DeregisterBroker)
"""Commands without which shards would stay with brokers that are gone."""

log = structlog.get_logger("felix.disk")


class DiskStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The disk's numbers at one moment."""

    is_low: bool
    free_mb: int
    size_mb: int
    """Of the whole file system, in 10^6 bytes as well."""


class DiskSpace:
    """How full the disk below the data directory is.

    `look` is called by one thread; everybody may ask. A thread of its own, because asking a disk
    that hangs hangs.
    """

    def __init__(self, path: Path, free_min_mb: int) -> None:
        """Below `free_min_mb` (10^6 bytes) the disk counts as nearly full; 0: never."""
        self._path = path
        self._free_min_mb = free_min_mb
        self.is_low = False
        self.free_mb = self.size_mb = 0
        self._stopping = threading.Event()

    def start(self) -> None:
        """Look once, then go on looking in a thread."""
        self.look()
        threading.Thread(target=self._run, name="disk-space", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def look(self) -> None:
        """See how much space there is. Raises: OSError."""
        found = os.statvfs(self._path)
        self.free_mb = found.f_bavail * found.f_frsize // MB
        self.size_mb = found.f_blocks * found.f_frsize // MB
        limit = self._free_min_mb * (CLEAR_FACTOR if self.is_low else 1.0)
        is_low = self.free_mb < limit
        if is_low != self.is_low:
            self.is_low = is_low
            say = log.error if is_low else log.info
            say(
                "the disk is nearly full: only deletes are taken"
                if is_low
                else "the disk has space again: writes are taken",
                path=str(self._path),
                free_mb=self.free_mb,
                free_min_mb=self._free_min_mb,
            )

    def check(self, command: Command) -> None:
        """Refuse what would take space when there is little. Raises: DiskFull."""
        if isinstance(command, ApplyManifests):
            for document in command.documents:
                self.check(document.wanted)
        elif self.is_low and not isinstance(command, (*FREEING, *CLOSING, *SERVING)):
            raise DiskFull(
                f"the leader's disk has {self.free_mb} MB left: only deletes are taken until it "
                f"has {math.ceil(self._free_min_mb * CLEAR_FACTOR)} (limits.disk_free_min_mb), "
                "or another node leads",
                retry_after_ms=RETRY_AFTER_MS,
            )

    def alarms(self) -> list[str]:
        """Say in words what an operator should look at."""
        if not self.is_low:
            return []
        return [f"{self._path} has {self.free_mb} MB left, less than {self._free_min_mb} MB"]

    def statistics(self) -> DiskStatistics:
        """Read the numbers."""
        return DiskStatistics(is_low=self.is_low, free_mb=self.free_mb, size_mb=self.size_mb)

    def _run(self) -> None:
        while not self._stopping.wait(CHECK_S):
            try:
                self.look()
            except OSError as error:
                log.warning("the space on the disk cannot be read", reason=str(error))
