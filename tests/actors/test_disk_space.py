"""When a disk counts as nearly full, and what is taken then."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from felix.actors.disk_space import FREEING, MB, DiskSpace
from felix.proto.commands import (
    AnyCommand,
    ApplyManifests,
    CreateTenant,
    DeleteCache,
    DeleteNamespace,
    DeleteStream,
    DeleteTenant,
    Manifest,
)
from felix.proto.errors import DiskFull
from felix.proto.placement_commands import DeregisterBroker


class Disk:
    """A disk that is as full as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free_mb = 1000
        monkeypatch.setattr(os, "statvfs", self._statvfs)

    def _statvfs(self, _: Path) -> SimpleNamespace:
        free, size = self.free_mb * MB // 1000, 2000 * MB // 1000
        return SimpleNamespace(f_bavail=free, f_blocks=size, f_frsize=1000)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_it_is_low_below_the_mark_and_clears_only_well_above_it(disk: Disk) -> None:
    space = DiskSpace(Path("/data"), 256)
    seen = []
    with capture_logs() as logs:
        for disk.free_mb in (1000, 256, 255, 300, 383, 384, 256, 10):
            space.look()
            seen.append(space.is_low)
    assert seen == [False, False, True, True, True, False, False, True]
    assert [one["log_level"] for one in logs] == ["error", "info", "error"]


def test_only_what_frees_space_is_taken_while_it_is_low(disk: Disk) -> None:
    space = DiskSpace(Path("/data"), 256)
    space.check(CreateTenant(tenant_id="t"))
    assert space.alarms() == []
    disk.free_mb = 100
    space.look()
    with pytest.raises(DiskFull, match="100 MB"):
        space.check(CreateTenant(tenant_id="t"))
    for command in (
        DeleteTenant(tenant_id="t"),
        DeleteNamespace(tenant_id="t", namespace="n"),
        DeleteStream(tenant_id="t", namespace="n", stream="s"),
        DeleteCache(tenant_id="t", namespace="n", cache="c"),
        DeregisterBroker(broker_id="b", broker_epoch=1),
    ):
        space.check(command)
    assert space.alarms() == ["/data has 100 MB left, less than 256 MB"]


def test_every_command_that_deletes_frees_space() -> None:
    verbs = ("Delete", "Purge", "Remove")
    deletes = {kind for kind in AnyCommand.__args__ if kind.__name__.startswith(verbs)}
    assert deletes == set(FREEING)


def test_of_sets_only_those_that_delete_and_nothing_else_are_taken(disk: Disk) -> None:
    space = DiskSpace(Path("/data"), 100)
    disk.free_mb = 1
    space.look()
    gone = Manifest(wanted=DeleteTenant(tenant_id="a"))
    space.check(ApplyManifests(documents=(gone,)))
    more = Manifest(wanted=CreateTenant(tenant_id="b"))
    with pytest.raises(DiskFull):
        space.check(ApplyManifests(documents=(gone, more)))


def test_no_bound_means_that_it_is_never_low(disk: Disk) -> None:
    space = DiskSpace(Path("/data"), 0)
    disk.free_mb = 0
    space.look()
    assert not space.is_low
