"""What the commands say, and how they end."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from felix.cli.config_loading import render
from felix.cli.server import main
from felix.core.catalog.backup import BackupHeader, BackupWriter
from felix.core.catalog.dump import Dump
from felix.proto.codec import encode
from felix.proto.commands import Proposal, SetFeatureLevel, Stamp
from felix.proto.ids import Index, Term
from felix.proto.levels import EXIT_TOO_OLD
from felix.proto.raft import Entry, EntryKind
from felix.storage.journal import total_of
from tests.rescue.directories import (
    IDS,
    a_log,
    everything_in,
    look_into,
    make_directory,
    membership,
    opened,
)
from tests.support.catalog_log import NOON_MS, CatalogLog, tenant
from tests.support.cluster import make_configs

pytestmark = pytest.mark.slow

THREE = membership("n1", "n2", "n3")


def felix(*arguments: object, code: int = 0) -> str:
    result: Result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_a_plan_names_everything_an_operator_has_to_know(tmp_path: Path) -> None:
    one = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1, 1, 3, 3, 3), snapshot_at=2)
    two = make_directory(tmp_path / "n2", "n2", a_log(THREE, 1, 1, 1, 2, 2), term=5)
    (two / "snapshots").rmdir()
    (two / "identity.json").unlink()
    before = everything_in(tmp_path)
    said = felix("recover", "plan", one, two)
    assert everything_in(tmp_path) == before
    for words in (
        f"node          n1 ({IDS['n1']})",
        f"term          3, vote for {IDS['n1']}",
        "log           up to entry 7 of term 3",
        "log           up to entry 6 of term 2",
        f"term          5, vote for {IDS['n2']}",
        "snapshot      2",
        f"membership    voters n1 ({IDS['n1']}), n2 ({IDS['n2']}), n3 ({IDS['n3']}) (entry 2)",
        "DAMAGE        it does not say whose it is",
        f"The most advanced log is in {one}",
        f"missing or damaged: n2 ({IDS['n2']}), n3 ({IDS['n3']})",
        "for certain up to entry 2",
        "entries 5 to 7",
        "DROPS its 2 entries after 4",
        "may be lost",
        f"felix-controlplane recover apply --data-dir {one} --plan ",
    ):
        assert words in said, said


def test_a_plan_that_was_made_can_be_carried_out_as_it_says(tmp_path: Path) -> None:
    one = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1))
    (line,) = [one for one in felix("recover", "plan", one).splitlines() if " apply " in one]
    said = felix(*line.split()[1:])
    assert look_into(one).identity.cluster_id in said
    assert "Start this node" in said
    felix(*line.split()[1:], code=3)


def test_a_quorum_is_not_recovered(tmp_path: Path) -> None:
    one = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1))
    three = make_directory(tmp_path / "n3", "n3", a_log(THREE, 1))
    assert "start these nodes" in felix("recover", "plan", one, three, code=6)


def test_what_cannot_be_planned_is_said(tmp_path: Path) -> None:
    one = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1))
    stranger = make_directory(tmp_path / "n2", "n2", a_log(THREE, 1, 1), cluster_id="d" * 32)
    assert "of 2 clusters" in felix("recover", "plan", one, stranger, code=3)
    assert "no data directory" in felix("recover", "plan", one, tmp_path / "none", code=3)
    with opened(one):
        assert "stop it first" in felix("recover", "plan", one, code=3)
        assert "in use" in felix("recover", "apply", "--data-dir", one, "--yes", code=3)
    spoiled = shutil.copytree(one, tmp_path / "copy")
    (spoiled / "journal.db").write_bytes(b"")
    assert "restore a backup" in felix("recover", "plan", spoiled, code=7)
    assert "nothing can be built" in felix(
        "recover", "apply", "--data-dir", spoiled, "--yes", code=3
    )


def test_nothing_is_recovered_without_a_plan_or_a_word(tmp_path: Path) -> None:
    one = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1, 1))
    assert "--plan" in felix("recover", "apply", "--data-dir", one, code=3)
    assert look_at_id(one) == IDS["n1"]
    felix("recover", "apply", "--data-dir", one, "--yes")
    assert look_at_id(one) != IDS["n1"]


def look_at_id(path: Path) -> str:
    with opened(path) as data:
        return data.identity.node_id


def test_a_file_that_is_no_backup_is_neither_verified_nor_restored(tmp_path: Path) -> None:
    file = tmp_path / "b"
    (config,) = make_configs(tmp_path, 1)
    (tmp_path / "felix.yaml").write_text(render(config))
    restore = ("restore", file, "--data-dir", tmp_path / "d", "--config", tmp_path / "felix.yaml")
    felix("backup", "verify", file, code=3)
    felix(*restore, code=3)
    for content in (b"", b"felix-backup-1\n", b"PK\x03\x04" * 100):
        file.write_bytes(content)
        assert str(file) in felix("backup", "verify", file, code=4)
        felix(*restore, code=4)
    assert not (tmp_path / "d").exists()


def test_replacing_takes_two_words(tmp_path: Path) -> None:
    (config,) = make_configs(tmp_path, 1)
    (tmp_path / "felix.yaml").write_text(render(config))
    path = make_directory(tmp_path / "n1" / "data", "n1", a_log(THREE, 1, 1))
    before = everything_in(path)
    restore = ("restore", tmp_path / "none", "--config", tmp_path / "felix.yaml")
    for words in ((), ("--replace",), ("--yes",)):
        assert "--replace together with --yes" in felix(*restore, *words, code=3)
    assert everything_in(path) == before


def newer_log(entry: Entry) -> list[Entry]:
    return [*a_log(THREE, 1, 1), entry]


def set_level(level: int, stated: int) -> Entry:
    proposal = Proposal(stated, Stamp(NOON_MS), SetFeatureLevel(level=level))
    return Entry(Index(4), Term(1), EntryKind.COMMAND, encode(proposal))


NEWER = {
    "a higher level": (set_level(2, 2), "entry 4 needs feature level 2, this build has 1"),
    "a level that is not stated": (set_level(2, 1), "entry 4 needs feature level 2"),
    "an unknown command": (
        Entry(Index(4), Term(1), EntryKind.COMMAND, msgspec.msgpack.encode([1, {}, {"type": "?"}])),
        "entry 4 was written by a newer build",
    ),
}


@pytest.mark.parametrize("what", NEWER)
def test_what_a_newer_build_wrote_into_a_log_is_neither_planned_nor_recovered(
    tmp_path: Path, what: str
) -> None:
    entry, says = NEWER[what]
    path = make_directory(tmp_path / "n1", "n1", newer_log(entry))
    before = everything_in(path)
    assert says in felix("recover", "plan", path, code=EXIT_TOO_OLD)
    assert everything_in(path) == before
    assert says in felix("recover", "apply", "--data-dir", path, "--yes", code=EXIT_TOO_OLD)
    assert [one.name for one in tmp_path.iterdir()] == ["n1"]
    with opened(path) as data:
        assert len(data.journal.recover().entries) == 4


def test_an_entry_of_an_unknown_kind_is_no_damage_to_a_plan(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "n1", "n1", a_log(THREE, 1))
    with closing(sqlite3.connect(path / "journal.db")) as db:
        (before,) = db.execute("select crc from log where idx = 1").fetchone()
        crc = total_of(2, 1, 77, b"", before)
        db.execute("update log set kind = 77, data = x'', crc = ? where idx = 2", (crc,))
        db.commit()
    for command in (("plan", path), ("apply", "--data-dir", path, "--yes")):
        assert "entries of kind 77" in felix("recover", *command, code=EXIT_TOO_OLD)


def test_a_backup_of_a_newer_build_is_not_taken_for_a_broken_one(tmp_path: Path) -> None:
    (config,) = make_configs(tmp_path, 1)
    (tmp_path / "felix.yaml").write_text(render(config))
    log = CatalogLog()
    log.make(tenant())
    log.catalog.feature_level = 2
    header = BackupHeader(
        cluster_id=log.catalog.cluster_id,
        epoch=log.catalog.epoch,
        version=log.catalog.version,
        digest=log.catalog.digest,
        applied_index=log.catalog.applied_index,
        applied_term=Term(1),
        created_at_ms=NOON_MS,
        node_id=IDS["n1"],
        membership=THREE,
        feature_level=2,
    )
    writer = BackupWriter(header, Dump(log.catalog))
    file = tmp_path / "b"
    with file.open("wb") as out:
        while not writer.is_complete:
            out.write(writer.next(5))
    restore = ("restore", file, "--data-dir", tmp_path / "d", "--config", tmp_path / "felix.yaml")
    for command in (("backup", "verify", file), restore):
        assert "needs feature level 2" in felix(*command, code=EXIT_TOO_OLD)
    assert not (tmp_path / "d").exists()


def test_a_node_that_is_not_there_gives_no_backup(tmp_path: Path) -> None:
    save = ("backup", "save", "--from", "127.0.0.1:1", "--timeout", "0.3", tmp_path / "b")
    assert "127.0.0.1:1" in felix(*save, code=5)
    assert list(tmp_path.iterdir()) == []
