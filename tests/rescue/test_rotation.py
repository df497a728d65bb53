"""`backup rotate`: what stays and what goes, in folders and with a real cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from felix.proto.commands import CreateTenant
from felix.recovery.backups import verify_backup
from felix.recovery.errors import Refused
from felix.recovery.rotation import drop_older, name_of
from tests.rescue.commands import felix
from tests.support.cluster import Cluster, cluster
from tests.support.keys import KeyRing
from tests.support.waiting import eventually

NOON = 1_800_000_000
HOUR = 3600


def folder_of(tmp_path: Path, names: list[str]) -> list[str]:
    for name in names:
        (tmp_path / name).write_bytes(b"a backup")
    return names


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_a_name_says_when_and_sorts_as_the_times_do() -> None:
    assert name_of(NOON) == "felix-20270115T080000Z.backup"
    assert name_of(NOON) < name_of(NOON + 1) < name_of(NOON + 86_400)


@pytest.mark.parametrize("keep", [1, 2, 5, 9])
def test_the_newest_stay_and_the_oldest_go(tmp_path: Path, keep: int) -> None:
    made = folder_of(tmp_path, [name_of(NOON + hour * HOUR) for hour in range(6)])
    dropped = drop_older(tmp_path / made[-1], keep)
    assert names_in(tmp_path) == made[-keep:]
    assert [one.name for one in dropped] == made[:-keep]


def test_what_was_just_made_stays_though_the_clock_was_set_back(tmp_path: Path) -> None:
    made = folder_of(tmp_path, [name_of(NOON + hour * HOUR) for hour in range(4)])
    drop_older(tmp_path / made[0], keep=2)
    assert names_in(tmp_path) == [made[0], made[3]]


def test_foreign_files_folders_and_links_are_left_alone(tmp_path: Path) -> None:
    foreign = ["felix.backup", "felix-20270115T080000Z.backup.old", "x-20270115T080000Z.backup"]
    folder_of(tmp_path, foreign)
    (tmp_path / name_of(0)).mkdir()
    (tmp_path / name_of(1)).symlink_to(tmp_path / foreign[0])
    (newest,) = folder_of(tmp_path, [name_of(NOON)])
    assert drop_older(tmp_path / newest, keep=1) == []
    assert len(names_in(tmp_path)) == 6


def test_what_a_killed_command_left_goes_after_a_day(tmp_path: Path) -> None:
    old, young, newest = (name_of(NOON + day * 86_400) for day in (0, 2, 3))
    folder_of(tmp_path, [f"{old}.abc_1.part", f"{young}.abc_1.part", newest, "other.part"])
    drop_older(tmp_path / newest, keep=3)
    assert names_in(tmp_path) == sorted([f"{young}.abc_1.part", newest, "other.part"])


def test_nothing_goes_for_a_file_that_is_no_backup(tmp_path: Path) -> None:
    made = folder_of(tmp_path, [name_of(NOON)])
    for wrong in ("felix.backup", name_of(NOON + HOUR)):
        with pytest.raises(Refused):
            drop_older(tmp_path / wrong, keep=1)
    assert names_in(tmp_path) == made


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, KeyRing]]:
    keys = KeyRing(tmp_path_factory.mktemp("keys"))
    with cluster(keys=keys) as running:
        yield running, keys


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_cluster_is_backed_up_by_whichever_member_answers_and_not_without_a_quorum(
    three: tuple[Cluster, KeyRing], tmp_path: Path
) -> None:
    running, keys = three
    running.leader().ask(CreateTenant(tenant_id="kept"))
    secret = keys.folder / "operator.key"
    felix("keygen", "curve", "--out", secret)
    config = running.nodes[2].config_file
    command = ("backup", "rotate", tmp_path, "--keep", 2, "--config", config)
    old = folder_of(tmp_path, [name_of(NOON - hour * HOUR - 10**8) for hour in range(3)])

    said = felix(*command, "--timeout", 2, "--secret-key-file", secret, code=5)
    assert "no member gave a backup" in said, "this key is in no list"
    assert names_in(tmp_path) == sorted(old)

    said = felix(*command)
    assert running.wait_converged().digest in said
    assert names_in(tmp_path)[0] == old[0]
    assert len(names_in(tmp_path)) == 2
    verify_backup(tmp_path / names_in(tmp_path)[1])

    running.nodes[0].kill()
    eventually(lambda: name_of_now_is_not_in(tmp_path))
    felix(*command)
    kept = names_in(tmp_path)
    running.nodes[1].kill()
    eventually(lambda: name_of_now_is_not_in(tmp_path))
    felix(*command, "--timeout", 2, code=5)
    assert names_in(tmp_path) == kept, "nothing new, nothing lost, nothing half made"


def name_of_now_is_not_in(folder: Path) -> bool:
    """Wait for the next second: names are no finer."""
    return max(names_in(folder)) < name_of(time.time())
