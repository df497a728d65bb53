"""The first directory of a new cluster, made from a backup or from an old directory."""

from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from felix.core.catalog.backup import BackupHeader, BackupWriter, BadBackup
from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import Dump
from felix.core.catalog.renewal import MARGIN_DEFAULT
from felix.proto.ids import Term
from felix.proto.queries import FeedChanges, GetFeedChanges
from felix.proto.raft import Addresses, Member
from felix.recovery import directory
from felix.recovery.errors import Refused
from felix.recovery.plan import plan_id
from felix.recovery.survey import read_directory
from felix.recovery.takeover import Floor, Founder, TakenOver, recover_directory, restore_backup
from felix.storage.data_dir import DataDir, set_aside
from felix.storage.errors import Damaged, Locked, StorageError
from felix.storage.ports import Identity, Owner
from tests.rescue.directories import (
    CLUSTER,
    CLUSTER_NAME,
    IDS,
    a_log,
    applied,
    everything_in,
    look_into,
    make_directory,
    member,
    membership,
    opened,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
THREE = membership("n1", "n2", "n3")
LOG = a_log(THREE, 1, 1, 1, 2, 2, 4)
FOUNDER = Founder(
    "new", CLUSTER_NAME, Addresses(peers="127.0.0.1:9100", rpc="127.0.0.1:9101", http="h:1")
)
LIMITS = CatalogLimits()


def save(catalog: Catalog, path: Path, term: int = 4) -> Path:
    header = BackupHeader(
        cluster_id=catalog.cluster_id,
        epoch=catalog.epoch,
        version=catalog.version,
        digest=catalog.digest,
        applied_index=catalog.applied_index,
        applied_term=Term(term),
        created_at_ms=0,
        node_id=IDS["n1"],
        membership=THREE,
    )
    writer = BackupWriter(header, Dump(catalog))
    with path.open("wb") as file:
        while not writer.is_complete:
            file.write(writer.next(3))
    return path


def restored(
    file: Path, path: Path, *, replace: bool = False, epoch: int = 0, above: int = 0
) -> TakenOver:
    floor = Floor(epoch=epoch, above=above)
    return restore_backup(file, path, FOUNDER, LIMITS, replace=replace, floor=floor)


def check_new_cluster(made: TakenOver, catalog: Catalog, term: int) -> None:
    """See that a node would start as the only voter, with what the old catalog held."""
    seen = look_into(made.path)
    assert seen.identity.cluster_id == made.cluster_id == seen.catalog.cluster_id
    assert seen.identity.cluster_id != CLUSTER
    assert seen.identity.node_id == made.node_id
    assert seen.identity.node_id not in IDS.values()
    assert seen.membership.voters == (made.node_id,)
    (founder,) = seen.membership.members
    assert founder.id == made.node_id
    assert founder.name == seen.identity.name
    assert seen.hard_state.vote is None
    assert seen.hard_state.term >= seen.last_term
    assert (seen.last_index, seen.last_term) == (catalog.applied_index, term)
    assert seen.catalog.digest == made.digest == catalog.digest
    assert seen.catalog.counts() == made.counts == catalog.counts()
    assert seen.catalog.epoch == made.epoch > catalog.epoch
    assert seen.catalog.version == made.version > catalog.version + 1_000_000


# --- restore ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_there", [False, True])
def test_a_backup_becomes_the_first_node_of_a_new_cluster(tmp_path: Path, is_there: bool) -> None:
    catalog = applied(LOG)
    file = save(catalog, tmp_path / "b")
    path = tmp_path / "deep" / "data"
    if is_there:
        path.mkdir(parents=True)
    made = restored(file, path)
    assert made.set_aside is None
    check_new_cluster(made, catalog, term=4)
    assert look_into(path).membership.members == (Member(made.node_id, "new", FOUNDER.addresses),)
    assert path.stat().st_mode & 0o077 == 0 or is_there


def test_every_restored_cluster_is_another_one(tmp_path: Path) -> None:
    file = save(applied(LOG), tmp_path / "b")
    made = [restored(file, tmp_path / f"d{number}") for number in range(3)]
    assert len({one.cluster_id for one in made} | {one.node_id for one in made}) == 6


def test_a_cluster_restored_from_a_backup_of_a_restored_one_goes_on_above_both(
    tmp_path: Path,
) -> None:
    first = restored(save(applied(LOG), tmp_path / "b1"), tmp_path / "d1")
    again = look_into(first.path).catalog
    second = restored(save(again, tmp_path / "b2"), tmp_path / "d2")
    assert second.epoch > first.epoch
    assert second.version > first.version + 1_000_000
    assert restored(tmp_path / "b1", tmp_path / "d3", epoch=1 << 40).epoch == 1 << 40


def test_a_second_restore_of_a_backup_has_another_epoch_though_nobody_tells_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(applied(LOG), tmp_path / "b")
    epochs = []
    for now_s in (1_800_000_000.5, 1_800_000_001.2, 0.0):  # the last is of a clock that was lost
        monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)
        epochs.append(restored(file, tmp_path / f"d{now_s}").epoch)
    assert epochs == [1_800_000_000, 1_800_000_001, 2]


def lowest_number(made: TakenOver) -> int:
    """Find the first number of a feed that one who knows all of `LOG` is told."""
    query = GetFeedChanges(feed="tenants", since=applied(LOG).version + 1)
    changes = look_into(made.path).catalog.answer(query)
    assert isinstance(changes, FeedChanges)
    return changes.items[0].seq


def test_a_cluster_goes_on_above_the_version_that_is_given(tmp_path: Path) -> None:
    file = save(applied(LOG), tmp_path / "b")
    above = 5_000_000_000
    assert lowest_number(restored(file, tmp_path / "d1")) < above
    made = restored(file, tmp_path / "d2", above=above)
    assert made.version > lowest_number(made) > above
    path = make_directory(tmp_path / "n1", "n1", LOG)
    made = recover_directory(path, None, LIMITS, plan=None, floor=Floor(above=above, epoch=1 << 40))
    assert made.epoch == 1 << 40
    assert lowest_number(made) > above


def test_a_backup_that_is_restored_again_goes_on_above_what_it_replaces(tmp_path: Path) -> None:
    file = save(applied(LOG), tmp_path / "b")
    first = restored(file, tmp_path / "d", epoch=1 << 40)
    second = restored(file, tmp_path / "d", replace=True)
    assert second.epoch == first.epoch + 1
    assert lowest_number(second) > first.version + MARGIN_DEFAULT
    assert not second.unread


@pytest.mark.parametrize("what", ["all of it", "its end"])
def test_of_a_replaced_directory_it_is_said_what_cannot_be_read(tmp_path: Path, what: str) -> None:
    file = save(applied(LOG), tmp_path / "b")
    path = make_directory(tmp_path / "n1", "n1", LOG)
    if what == "all of it":
        (path / "journal.db").write_bytes(b"this was a journal" * 1000)
    else:
        with closing(sqlite3.connect(path / "journal.db")) as db:
            db.execute("delete from log where idx = ?", (len(LOG),))
            db.commit()
    made = restored(file, path, replace=True)
    assert ("cannot be read" if what == "all of it" else "are missing") in made.unread


def test_an_empty_clusters_backup_can_be_restored(tmp_path: Path) -> None:
    made = restored(save(Catalog(CLUSTER), tmp_path / "b", term=0), tmp_path / "d")
    seen = look_into(made.path)
    assert (seen.last_index, seen.last_term, seen.hard_state.term) == (1, 1, 1)


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    file = save(applied(LOG), tmp_path / "b")
    path = make_directory(tmp_path / "n1", "n1", LOG)
    before = everything_in(path)
    with pytest.raises(Refused, match="--replace"):
        restored(file, path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    with pytest.raises(Refused, match="not empty"):
        restored(file, other)
    assert everything_in(path) == before
    assert [one.name for one in other.iterdir()] == ["letter.txt"]


def test_a_new_volume_is_an_empty_directory(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    (path / "lost+found").mkdir(parents=True)
    made = restored(save(applied(LOG), tmp_path / "b"), path)
    assert made.set_aside is None
    check_new_cluster(made, applied(LOG), term=4)


def test_what_cannot_be_exchanged_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_directory(tmp_path / "n1", "n1", LOG)
    monkeypatch.setattr(directory, "_RENAME_EXCHANGE", 1 << 30)  # no file system can do that
    with pytest.raises(Refused, match="cannot be exchanged"):
        recover_directory(path, None, LIMITS, plan=None)
    with opened(path) as data:
        assert data.journal.recover().entries == tuple(LOG)
    assert [one.name for one in tmp_path.iterdir()] == ["n1"]


def test_what_is_replaced_is_set_aside_whole(tmp_path: Path) -> None:
    catalog = applied(LOG, 4)
    file = save(catalog, tmp_path / "b", term=1)
    path = make_directory(tmp_path / "n1", "n1", LOG)
    made = restored(file, path, replace=True)
    check_new_cluster(made, catalog, term=1)
    assert made.set_aside is not None
    with opened(made.set_aside) as data:
        assert data.journal.recover().entries == tuple(LOG)
    assert {one.name for one in tmp_path.iterdir()} == {"b", "n1", made.set_aside.name}


def test_a_live_directory_is_not_restored_into_whatever_is_said(tmp_path: Path) -> None:
    file = save(applied(LOG), tmp_path / "b")
    path = make_directory(tmp_path / "n1", "n1", LOG)
    with opened(path), pytest.raises(Locked):
        restored(file, path, replace=True)
    assert read_directory(path).survey.last_index == len(LOG)


def test_a_damaged_backup_touches_nothing(tmp_path: Path) -> None:
    file = save(applied(LOG), tmp_path / "b")
    file.write_bytes(file.read_bytes()[:-1])
    path = make_directory(tmp_path / "n1", "n1", LOG)
    before = everything_in(path)
    for target in (path, tmp_path / "new"):
        with pytest.raises(BadBackup):
            restored(file, target, replace=True)
    assert everything_in(path) == before
    assert not (tmp_path / "new").exists()


def test_a_half_written_directory_is_nobodys(tmp_path: Path) -> None:
    made = restored(save(applied(LOG), tmp_path / "b"), tmp_path / "d")
    (made.path / "identity.json").unlink()
    with pytest.raises(Refused):
        restored(tmp_path / "b", made.path)
    identity = Identity(CLUSTER, IDS["n1"], "new", CLUSTER_NAME)
    with pytest.raises(StorageError):
        DataDir.open(made.path, Owner(CLUSTER_NAME, "new"), lambda: identity)


# --- recover ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("snapshot_at", "trail"), [(0, 0), (3, 1), (7, 0)])
def test_every_entry_of_the_log_is_kept(tmp_path: Path, snapshot_at: int, trail: int) -> None:
    path = make_directory(tmp_path / "n1", "n1", LOG, snapshot_at=snapshot_at, trail=trail, term=9)
    before = everything_in(path)
    plan = plan_id(read_directory(path).survey)
    made = recover_directory(path, None, LIMITS, plan=plan)
    check_new_cluster(made, applied(LOG), term=9)
    seen = look_into(path)
    (founder,) = seen.membership.members
    assert (founder.name, founder.addresses) == ("n1", member("n1").addresses)
    assert made.set_aside is not None
    old = everything_in(made.set_aside)
    assert {name for name in old if name != "lock"} == {name for name in before if name != "lock"}
    assert all(old[name] == before[name] for name in before if name != "lock")


def test_the_keys_of_commands_are_kept(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", LOG)
    recover_directory(path, None, LIMITS, plan=None)
    again, before = look_into(path).catalog, applied(LOG)
    rows = before.store.tables["idempotency"].rows
    assert rows
    assert again.store.tables["idempotency"].rows == rows


def test_a_directory_that_is_not_the_plans_is_left_alone(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", LOG)
    with pytest.raises(Refused, match="plan again"):
        recover_directory(path, None, LIMITS, plan="0" * 12)
    with opened(path) as data:
        assert data.journal.recover().entries == tuple(LOG)
    assert [one.name for one in tmp_path.iterdir()] == ["n1"]


def test_a_running_nodes_directory_is_not_recovered(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", LOG)
    with opened(path), pytest.raises(Locked):
        recover_directory(path, FOUNDER, LIMITS, plan=None)


def test_a_node_takes_other_addresses_when_it_is_given_some(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", LOG)
    recover_directory(path, FOUNDER, LIMITS, plan=None)
    (founder,) = look_into(path).membership.members
    assert (founder.name, founder.addresses) == ("new", FOUNDER.addresses)


def test_a_node_whose_addresses_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n4", "n4", LOG)
    with pytest.raises(Refused, match="--config"):
        recover_directory(path, None, LIMITS, plan=None)


def a_node_with_data_set_aside(path: Path) -> Path:
    """Make the directory of a node that began anew."""
    make_directory(path, "n1", LOG)
    return set_aside(path, Owner(CLUSTER_NAME, "n1"), "9" * 32)


def test_what_was_set_aside_is_recovered_beside_the_directory_it_lies_in(tmp_path: Path) -> None:
    path = tmp_path / "n1"
    aside = a_node_with_data_set_aside(path)
    before = everything_in(path)
    made = recover_directory(aside, None, LIMITS, plan=plan_id(read_directory(aside).survey))
    check_new_cluster(made, applied(LOG), term=4)
    assert made.set_aside is None
    assert made.path.parent == tmp_path
    assert made.path.name.startswith("n1.recovered-")
    after = everything_in(path)
    assert {name: after[name] for name in before if not name.endswith("lock")} == {
        name: before[name] for name in before if not name.endswith("lock")
    }
    set_aside(path, Owner(CLUSTER_NAME, "n1"), "8" * 32)  # the node can do this again


def test_what_was_set_aside_is_not_recovered_under_a_running_node(tmp_path: Path) -> None:
    path = tmp_path / "n1"
    aside = a_node_with_data_set_aside(path)
    with opened(path):
        names = sorted(tmp_path.rglob("*"))
        with pytest.raises(Locked):
            recover_directory(aside, None, LIMITS, plan=None)
        assert sorted(tmp_path.rglob("*")) == names


def test_a_backup_is_not_restored_inside_a_data_directory(tmp_path: Path) -> None:
    aside = a_node_with_data_set_aside(tmp_path / "n1")
    file = save(applied(LOG), tmp_path / "b")
    for path in (aside, aside / "new", tmp_path / "n1" / "new"):
        with pytest.raises(Refused, match="inside the data directory"):
            restored(file, path, replace=True)


def test_a_link_to_a_directory_stays_a_link(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "disk" / "n1", "n1", LOG)
    link = tmp_path / "link"
    link.symlink_to(path)
    recover_directory(link, None, LIMITS, plan=None)
    assert link.readlink() == path
    check = look_into(link)
    assert check.identity.cluster_id != CLUSTER


def test_a_crash_at_any_step_leaves_the_old_directory_or_the_new_one(tmp_path: Path) -> None:
    make_directory(tmp_path / "data", "n1", a_log(THREE, 1, 1, 1))
    steps, left_old = crashes(tmp_path)
    assert steps > 15
    assert 0 < left_old <= steps


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_no_crash_of_a_restore_leaves_what_becomes_an_empty_cluster(
    tmp_path: Path, where: str
) -> None:
    save(applied(a_log(THREE, 1, 1, 1)), tmp_path / "b")
    unused, refused, new = crashes(tmp_path, where)
    assert unused > 0
    assert new > 0
    assert (refused > 0) == (where == "inside")


def crashes(*arguments: object) -> tuple[int, ...]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.rescue.crasher", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["missing", "empty", "volume", "used", "recovered"])
def test_a_takeover_that_fails_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    file = save(applied(LOG), tmp_path / "b")
    path = tmp_path / "deep" / "data"
    if where in {"empty", "volume"}:
        path.mkdir(parents=True)
    if where == "volume":
        (path / "lost+found").mkdir()
    if where in {"used", "recovered"}:
        make_directory(path, "n1", LOG)
    before, names = everything_in(tmp_path), sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(directory, "write_identity", fail)  # the last step
    command: Callable[[], TakenOver] = partial(restored, file, path, replace=True)
    if where == "recovered":
        command = partial(recover_directory, path, None, LIMITS, plan=None)
    with pytest.raises(type(error)):
        command()
    assert sorted(tmp_path.rglob("*")) == names
    after = everything_in(tmp_path)
    assert all(after[name] == before[name] for name in before if not name.endswith("lock"))
    monkeypatch.undo()
    check_new_cluster(restored(file, path, replace=True), applied(LOG), term=4)


def test_a_directory_that_cannot_be_exchanged_is_filled_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data"
    path.mkdir()
    inode = path.stat().st_ino
    monkeypatch.setattr(directory, "_RENAME_EXCHANGE", 1 << 30)  # no file system can do that
    check_new_cluster(restored(save(applied(LOG), tmp_path / "b"), path), applied(LOG), term=4)
    assert path.stat().st_ino == inode
    assert {one.name for one in tmp_path.iterdir()} == {"b", "data"}


@pytest.mark.parametrize("left", ["snapshots/x.partial", "being-filled"])
def test_no_cluster_is_founded_on_what_a_restore_left(tmp_path: Path, left: str) -> None:
    file = tmp_path / "d" / left
    file.parent.mkdir(parents=True)
    file.touch()
    identity = Identity(CLUSTER, IDS["n1"], "new", CLUSTER_NAME)
    with pytest.raises(Damaged, match="restore that was cut off"):
        DataDir.open(tmp_path / "d", Owner(CLUSTER_NAME, "new"), lambda: identity)
