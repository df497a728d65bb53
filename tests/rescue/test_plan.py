"""What can be recovered from the directories that are left: read from disks, decided purely."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from felix.core.catalog.catalog import CatalogLimits
from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, EntryKind, HardState
from felix.recovery.errors import Refused
from felix.recovery.plan import Plan, Survey, clusters_of, make_plan, plan_id
from felix.recovery.survey import find_directories, read_directory, rebuild, refuse_running
from felix.storage.data_dir import IDENTITY, JOURNAL
from felix.storage.errors import Damaged, Locked
from felix.storage.journal import SqliteJournal
from tests.rescue.directories import (
    IDS,
    a_log,
    applied,
    everything_in,
    make_directory,
    membership,
    opened,
    snapshot_files,
)

pytestmark = pytest.mark.slow

THREE = membership("n1", "n2", "n3")
LIMITS = CatalogLimits()


def surveys_of(paths: Iterable[Path]) -> list[Survey]:
    found = find_directories(list(paths))
    return [read_directory(path, is_set_aside=inside).survey for path, inside in found]


def plan_of(*paths: Path) -> Plan:
    return make_plan(surveys_of(paths))


def chosen(plan: Plan) -> str:
    assert plan.chosen is not None
    return Path(plan.chosen.path).name


def corrupt_entry(path: Path, index: int) -> None:
    """Flip a bit of an entry as a disk may, behind SQLite's back or not."""
    db = sqlite3.connect(path / JOURNAL)
    (data,) = db.execute("select data from log where idx = ?", (index,)).fetchone()
    damaged = bytes([data[0] ^ 1]) + data[1:]
    db.execute("update log set data = ? where idx = ?", (damaged, index))
    db.commit()
    db.close()


# --- one directory ------------------------------------------------------------------------------


@pytest.mark.parametrize(("snapshot_at", "trail"), [(0, 0), (5, 0), (5, 3), (5, 5), (9, 2)])
def test_a_survey_says_what_the_journal_says_and_rebuilds_all_of_it(
    tmp_path: Path, snapshot_at: int, trail: int
) -> None:
    log = a_log(THREE, 1, 1, 1, 2, 2, 2, 2, 4)
    path = make_directory(tmp_path / "n1", "n1", log, snapshot_at=snapshot_at, trail=trail, term=6)
    contents = read_directory(path)
    survey = contents.survey
    with opened(path) as data:
        recovered = data.journal.recover()
    assert contents.salvaged.entries == recovered.entries
    assert contents.salvaged.snapshot == recovered.snapshot
    assert survey.hard_state == recovered.hard_state
    assert survey.position == (4, 9)
    assert survey.membership == THREE
    assert (survey.snapshot_index, survey.damage, survey.is_usable) == (snapshot_at, (), True)
    assert survey.node_id == IDS["n1"]
    for entry in recovered.entries:
        assert survey.term_at(entry.index) == entry.term
    catalog = rebuild(contents, LIMITS)
    whole = applied(log)
    assert (catalog.digest, catalog.version, catalog.applied_index) == (
        whole.digest,
        whole.version,
        9,
    )


def test_reading_changes_nothing_not_even_of_a_node_that_was_killed(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1), snapshot_at=2)
    with opened(path) as data:
        more = a_log(THREE, 1, 1, 2, 2)[3:]
        data.journal.recover()
        data.journal.append(None, more)
        shutil.copytree(path, tmp_path / "copy")  # as kill -9 leaves it: with a write-ahead file
    killed = tmp_path / "copy"
    assert (killed / "journal.db-wal").stat().st_size > 0
    before = everything_in(killed)
    survey = read_directory(killed).survey
    assert survey.last_index == 5
    assert everything_in(killed) == before


def test_a_running_node_is_seen_without_touching_it(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", a_log(THREE))
    with opened(path), pytest.raises(Locked, match="stop it first"):
        refuse_running(path)
    before = everything_in(path)
    refuse_running(path)
    assert everything_in(path) == before
    refuse_running(tmp_path)


def test_the_log_is_used_up_to_the_first_damaged_entry(tmp_path: Path) -> None:
    log = a_log(THREE, 1, 1, 1, 1, 1)
    path = make_directory(tmp_path / "n1", "n1", log)
    corrupt_entry(path, 4)
    contents = read_directory(path)
    assert contents.survey.last_index == 3
    assert contents.survey.is_usable
    assert not contents.survey.may_vote
    assert "entry 4 does not match its CRC" in contents.survey.damage
    assert rebuild(contents, LIMITS).digest == applied(log, 3).digest


def test_damage_in_what_a_snapshot_stands_for_costs_nothing(tmp_path: Path) -> None:
    log = a_log(THREE, 1, 1, 1, 1, 1, 1)
    path = make_directory(tmp_path / "n1", "n1", log, snapshot_at=5, trail=3)
    corrupt_entry(path, 4)
    contents = read_directory(path)
    assert contents.survey.damage
    assert contents.survey.last_index == 7
    assert rebuild(contents, LIMITS).digest == applied(log).digest


def test_an_entry_that_is_missing_is_the_end_of_the_log(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1, 1, 1))
    db = sqlite3.connect(path / JOURNAL)
    db.execute("delete from log where idx = 3")
    db.commit()
    db.close()
    survey = read_directory(path).survey
    assert survey.last_index == 2
    assert survey.damage == (
        "entry 3 is missing",
        "entries 3 to 5 are missing, the last of them of term 1",
    )


OTHER_LOG = [entry for entry in a_log(THREE, 1, 1, 1) if entry.index < 4]
OTHER_LOG.append(Entry(Index(4), Term(1), EntryKind.NOOP, b"other"))
LATER: dict[str, Callable[[SqliteJournal], None]] = {
    "a vote": lambda journal: journal.append(HardState(Term(2), IDS["n2"]), []),
    "a vote in the same term": lambda journal: journal.append(HardState(Term(1), IDS["n2"]), []),
    "a term": lambda journal: journal.append(HardState(Term(2)), []),
    "an entry": lambda journal: journal.append(None, [OTHER_LOG[3]]),
    "a cut": lambda journal: journal.append(None, OTHER_LOG[2:3]),
}


@pytest.mark.parametrize("later", LATER)
def test_what_a_start_misses_is_damage_in_the_same_words(tmp_path: Path, later: str) -> None:
    path = make_directory(tmp_path / "n1", "n1", OTHER_LOG[:3])
    mark = path / (JOURNAL + "-mark")
    before = (path / JOURNAL).read_bytes()
    with opened(path) as data:
        data.journal.recover()
        LATER[later](data.journal)
    (path / JOURNAL).write_bytes(before)  # as an old copy of a disk has it
    assert_refused_alike(path)
    mark.unlink()
    assert read_directory(path).survey.damage == ()


def test_another_end_of_the_same_length_is_damage_in_the_same_words(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", OTHER_LOG)
    other = make_directory(tmp_path / "copy", "n1", a_log(THREE, 1, 1, 1))
    shutil.copy(other / (JOURNAL + "-mark"), path)
    assert_refused_alike(path)


@pytest.mark.parametrize(("base", "says"), [(4, "it ends before"), (7, "entry 6 is missing")])
def test_a_log_that_does_not_meet_its_snapshot_is_damage(
    tmp_path: Path, base: int, says: str
) -> None:
    path = make_directory(tmp_path / "n1", "n1", a_log(THREE, *[1] * 4), snapshot_at=5)
    value = struct.pack(">QI", base, 0)
    with closing(sqlite3.connect(path / JOURNAL)) as db:
        crc = zlib.crc32(value, zlib.crc32(b"base"))
        db.execute("update meta set value = ?, crc = ? where key = 'base'", (value, crc))
        db.commit()
    (path / (JOURNAL + "-mark")).unlink()
    (damage,) = read_directory(path).survey.damage
    assert says in damage
    with opened(path) as data, pytest.raises(Damaged, match=damage):
        data.journal.recover()


def assert_refused_alike(path: Path) -> None:
    """See that a plan finds the damage that a start of the node finds."""
    shutil.copytree(path, path.parent / "started")
    survey = read_directory(path).survey
    (damage,) = survey.damage
    assert not survey.may_vote
    with opened(path.parent / "started") as data, pytest.raises(Damaged, match=damage):
        data.journal.recover()


def remove_snapshot(path: Path) -> None:
    snapshot_files(path)[0].unlink()


def flip_snapshot(path: Path) -> None:
    (file,) = snapshot_files(path)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def cut_snapshot(path: Path) -> None:
    (file,) = snapshot_files(path)
    file.write_bytes(file.read_bytes()[:-1])


def lose_snapshots(path: Path) -> None:
    shutil.rmtree(path / "snapshots")


@pytest.mark.parametrize("harm", [remove_snapshot, flip_snapshot, cut_snapshot, lose_snapshots])
@pytest.mark.parametrize("trail", [2, 5])
def test_without_its_snapshot_a_log_is_usable_only_from_its_first_entry(
    tmp_path: Path, harm: Callable[[Path], None], trail: int
) -> None:
    log = a_log(THREE, 1, 1, 1, 1, 1, 1)
    path = make_directory(tmp_path / "n1", "n1", log, snapshot_at=5, trail=trail)
    harm(path)
    before = everything_in(path)
    contents = read_directory(path)
    assert everything_in(path) == before
    assert contents.survey.damage
    assert contents.survey.is_usable == (trail == 5)
    if trail == 5:
        assert rebuild(contents, LIMITS).digest == applied(log).digest


def spoil_journal(path: Path) -> None:
    (path / JOURNAL).write_bytes(b"this was a journal " * 1000)


def empty_journal(path: Path) -> None:
    (path / JOURNAL).write_bytes(b"")


def lose_journal(path: Path) -> None:
    (path / JOURNAL).unlink()


@pytest.mark.parametrize("harm", [spoil_journal, empty_journal, lose_journal])
def test_a_directory_without_a_readable_journal_is_not_usable(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    path = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1))
    harm(path)
    before = everything_in(path)
    (survey,) = surveys_of([path])
    assert (survey.is_usable, survey.last_index) == (False, 0)
    assert survey.damage
    assert everything_in(path) == before
    assert make_plan([survey]).chosen is None


def test_any_byte_of_a_journal_may_be_wrong_and_nothing_wrong_is_believed(tmp_path: Path) -> None:
    log = a_log(THREE, *[1] * 12)
    path = make_directory(tmp_path / "n1", "n1", log)
    journal = path / JOURNAL
    whole = journal.read_bytes()
    written = [place for place, byte in enumerate(whole) if byte]  # the rest was never used
    found = 0
    for place in written[:: max(1, len(written) // 300)]:
        with journal.open("r+b") as file:
            file.seek(place)
            file.write(bytes([whole[place] ^ 0xFF]))
        contents = read_directory(path)
        entries = contents.salvaged.entries
        assert list(entries) == log[: len(entries)], f"byte {place}"
        assert len(entries) == len(log) or contents.survey.damage, f"byte {place}"
        found += bool(contents.survey.damage)
        journal.write_bytes(whole)
    assert found > 100


def test_whose_it_is_may_be_lost_and_the_log_is_still_of_use(tmp_path: Path) -> None:
    log = a_log(THREE, 1, 1)
    path = make_directory(tmp_path / "n1", "n1", log)
    (path / IDENTITY).write_text("{")
    contents = read_directory(path)
    assert contents.survey.identity is None
    assert not contents.survey.may_vote
    assert contents.survey.is_usable
    (path / IDENTITY).unlink()
    assert read_directory(path).survey.damage == ("it does not say whose it is",)


# --- several ------------------------------------------------------------------------------------


def test_the_most_advanced_log_is_that_of_the_last_term_then_of_the_last_index(
    tmp_path: Path,
) -> None:
    long = make_directory(tmp_path / "n1", "n1", a_log(THREE, *[1] * 20))
    newer = make_directory(tmp_path / "n2", "n2", a_log(THREE, 1, 1, 3, 3))
    newest = make_directory(tmp_path / "n3", "n3", a_log(THREE, 1, 1, 3, 3, 3))
    for paths in ([long, newer, newest], [newest, newer, long]):
        (*_, path) = sorted(paths)
        assert chosen(plan_of(*paths)) == path.name == "n3"
    assert chosen(plan_of(long, newer)) == "n2"


def test_a_quorum_of_whole_directories_is_started_and_not_recovered(tmp_path: Path) -> None:
    one = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1))
    two = make_directory(tmp_path / "n2", "n2", a_log(THREE, 1))
    assert plan_of(one, two).has_quorum
    lonely = plan_of(one)
    assert not lonely.has_quorum
    assert set(lonely.missing) == {IDS["n2"], IDS["n3"]}
    twice = plan_of(one, shutil.copytree(one, tmp_path / "copy"))
    assert not twice.has_quorum, "the same voter twice is one voter"


def test_a_damaged_directory_is_no_vote(tmp_path: Path) -> None:
    one = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1))
    two = make_directory(tmp_path / "n2", "n2", a_log(THREE, 1, 1, 1))
    corrupt_entry(two, 4)
    plan = plan_of(one, two)
    assert not plan.has_quorum
    assert set(plan.missing) == {IDS["n2"], IDS["n3"]}
    assert chosen(plan) == "n1"


def test_in_a_joint_configuration_both_halves_need_their_quorum(tmp_path: Path) -> None:
    joint = membership("n3", "n4", "n5", outgoing=("n1", "n2", "n3"))
    four = make_directory(tmp_path / "n4", "n4", a_log(joint, 1))
    five = make_directory(tmp_path / "n5", "n5", a_log(joint, 1))
    plan = plan_of(four, five)
    assert set(plan.missing) == {IDS["n1"], IDS["n2"], IDS["n3"]}


def test_what_a_node_set_aside_is_found_and_may_be_used_but_is_no_vote(tmp_path: Path) -> None:
    one = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1))
    aside = make_directory(tmp_path / "n2" / "quarantine" / "1", "n2", a_log(THREE, 1, 1, 1))
    make_directory(tmp_path / "n2", "n4", a_log(THREE))
    surveys = surveys_of([one, tmp_path / "n2"])
    assert [one.is_set_aside for one in surveys] == [False, False, True]
    plan = make_plan(surveys)
    assert plan.chosen is not None
    assert plan.chosen.path == str(aside)
    assert not plan.has_quorum
    assert IDS["n2"] in plan.missing
    (alone,) = surveys_of([aside])
    assert alone.is_set_aside, "also when it is named itself"


def test_what_others_lack_and_what_would_be_dropped_is_counted(tmp_path: Path) -> None:
    common = [1, 1, 1]
    best = make_directory(tmp_path / "n1", "n1", a_log(THREE, *common, 3, 3, 3))
    old_leader = make_directory(tmp_path / "n2", "n2", a_log(THREE, *common, 2, 2))
    behind = make_directory(tmp_path / "n3", "n3", a_log(THREE, 1, 1), snapshot_at=2)
    plan = plan_of(best, old_leader, behind)
    assert chosen(plan) == "n1"
    differs, lags = plan.others
    assert (differs.agreed, differs.behind, differs.dropped) == (4, 3, 2)
    assert (lags.agreed, lags.behind, lags.dropped) == (3, 4, 0)
    assert plan.alone_from == 5
    assert plan.committed == 2


def test_where_only_a_snapshot_is_left_the_logs_are_taken_to_agree(tmp_path: Path) -> None:
    log = a_log(THREE, *[1] * 9)
    best = make_directory(tmp_path / "n1", "n1", log, snapshot_at=9)
    behind = make_directory(tmp_path / "n2", "n2", log[:4])
    (lags,) = plan_of(best, behind).others
    assert (lags.agreed, lags.behind, lags.dropped) == (4, 6, 0)


def test_the_end_of_a_snapshot_is_held_against_the_other_log_too(tmp_path: Path) -> None:
    log = a_log(THREE, 1, 1, 1, 3, 3, 3)
    best = make_directory(tmp_path / "n1", "n1", log, snapshot_at=5)
    old_leader = make_directory(tmp_path / "n2", "n2", a_log(THREE, 1, 1, 1, 2, 2))
    (differs,) = plan_of(best, old_leader).others
    assert (differs.agreed, differs.behind, differs.dropped) == (4, 3, 2)


def test_a_log_without_a_membership_never_claims_a_quorum(tmp_path: Path) -> None:
    log = [
        Entry(Index(index), Term(1), one.kind, one.data)
        for index, one in enumerate(a_log(THREE, 1, 1, 1)[1:], start=1)
    ]
    plan = plan_of(*(make_directory(tmp_path / name, name, log) for name in ("n1", "n2", "n3")))
    assert plan.chosen is not None
    assert plan.chosen.membership is None
    assert not plan.has_quorum


def test_directories_of_two_clusters_are_told_apart(tmp_path: Path) -> None:
    one = make_directory(tmp_path / "n1", "n1", a_log(THREE))
    other = make_directory(tmp_path / "n2", "n2", a_log(THREE), cluster_id="d" * 32)
    assert len(clusters_of(surveys_of([one, other]))) == 2


def test_a_folder_without_any_data_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no data directory"):
        find_directories([tmp_path])


def test_a_plan_is_named_after_what_it_found_not_after_the_path(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1))
    copy = shutil.copytree(path, tmp_path / "copy")
    (survey,), (same,) = surveys_of([path]), surveys_of([copy])
    assert plan_id(survey) == plan_id(same)
    assert survey.identity is not None
    journal = SqliteJournal(copy / JOURNAL, survey.identity.node_id)
    journal.recover()
    journal.append(None, a_log(THREE, 1, 1)[2:])
    journal.close()
    (changed,) = surveys_of([copy])
    assert plan_id(changed) != plan_id(survey)


def test_an_entry_that_nobody_can_apply_stops_the_rebuilding(tmp_path: Path) -> None:
    log = a_log(THREE, 1, 1)
    log.append(Entry(Index(4), Term(1), EntryKind.COMMAND, b"\xc1"))
    path = make_directory(tmp_path / "n1", "n1", log)
    with pytest.raises(Damaged, match="entry 4 cannot be applied"):
        rebuild(read_directory(path), LIMITS)
