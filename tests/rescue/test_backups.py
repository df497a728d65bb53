"""Backups being read from a node: at the reader's pace, bounded, given up when abandoned."""

from __future__ import annotations

import io
import time

import pytest

from felix.actors import backups as module
from felix.actors.backups import BACKUPS_MAX, IDLE_S_MAX, SECONDS_MAX, SLICE_RECORDS, Backups
from felix.core.catalog import dump
from felix.core.catalog.backup import read_backup
from felix.core.catalog.catalog import CatalogLimits
from felix.proto.errors import NotFound, Overloaded, ValidationFailed
from felix.proto.ids import NodeId, Term
from felix.proto.queries import BackupPiece, GetBackup
from felix.proto.raft import Membership
from tests.support.catalog_log import CatalogLog, tenant

NODE = NodeId("n1")


def a_log(tenants: int = 3 * SLICE_RECORDS) -> CatalogLog:
    log = CatalogLog()
    log.make(*(tenant(f"t{number}") for number in range(tenants)))
    return log


def ask(backups: Backups, log: CatalogLog, backup: str = "", piece: int = 0) -> BackupPiece:
    return backups.next(
        GetBackup(backup=backup, piece=piece),
        log.catalog,
        applied_term=Term(1),
        node_id=NODE,
        membership=Membership((NODE,)),
    )


def finish(backups: Backups, log: CatalogLog, piece: BackupPiece) -> bytes:
    data = piece.data
    while not piece.is_last:
        piece = ask(backups, log, piece.backup, piece.piece + 1)
        data += piece.data
    return data


def test_a_backup_counts_once_when_its_last_piece_was_handed_out() -> None:
    log, backups = a_log(), Backups()
    piece = ask(backups, log)
    while not piece.is_last:
        assert (backups.completed, backups.completed_at_s) == (0, 0)
        piece = ask(backups, log, piece.backup, piece.piece + 1)
    assert backups.completed == 1
    assert backups.completed_at_s == pytest.approx(time.time(), abs=60)
    ask(backups, log, piece.backup, piece.piece)  # its answer was lost
    assert backups.completed == 1


def views(log: CatalogLog) -> int:
    return len(log.catalog.store._views)


def test_a_backup_is_of_one_moment_though_commits_go_on_between_its_pieces() -> None:
    log, backups = a_log(), Backups()
    version, digest = log.catalog.version, log.catalog.digest
    piece = ask(backups, log)
    data = piece.data
    number = 0
    while not piece.is_last:
        log.make(tenant(f"new{number}"))
        number += 1
        piece = ask(backups, log, piece.backup, number)
        assert (piece.piece, piece.version, piece.digest) == (number, version, digest)
        data += piece.data
    found = read_backup(io.BytesIO(data).read, CatalogLimits())
    assert (found.catalog.version, found.catalog.digest) == (version, digest)
    assert number > 4
    assert views(log) == 0


def test_a_backup_says_which_feature_level_was_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "FEATURE_LEVEL", 2)  # as a build that can have raised it
    log, backups = a_log(1), Backups()
    log.catalog.feature_level = 2
    data = finish(backups, log, ask(backups, log))
    found = read_backup(io.BytesIO(data).read, CatalogLimits())
    assert (found.header.feature_level, found.catalog.feature_level) == (2, 2)


def test_a_piece_whose_answer_was_lost_can_be_had_again_and_no_other() -> None:
    log, backups = a_log(), Backups()
    first = ask(backups, log)
    second = ask(backups, log, first.backup, 1)
    assert ask(backups, log, first.backup, 1) == second
    for number in (0, 3, -1):
        with pytest.raises(ValidationFailed):
            ask(backups, log, first.backup, number)
    finish(backups, log, second)


def test_a_complete_backup_gives_its_last_piece_again_and_nothing_behind() -> None:
    log, backups = a_log(1), Backups()
    piece = ask(backups, log)
    while not piece.is_last:
        piece = ask(backups, log, piece.backup, piece.piece + 1)
    assert ask(backups, log, piece.backup, piece.piece) == piece
    with pytest.raises(ValidationFailed):
        ask(backups, log, piece.backup, piece.piece + 1)


def test_an_abandoned_backup_frees_its_view() -> None:
    log, backups = a_log(), Backups()
    piece = ask(backups, log)
    backups.sweep(time.monotonic())
    assert views(log) == len(backups) == 1
    backups.sweep(time.monotonic() + IDLE_S_MAX + 0.1)
    assert views(log) == len(backups) == 0
    with pytest.raises(NotFound):
        ask(backups, log, piece.backup, 1)


def test_a_reader_that_is_too_slow_is_given_up_though_it_never_pauses() -> None:
    log, backups = a_log(), Backups()
    piece = ask(backups, log)
    backups._open[piece.backup]._begun -= SECONDS_MAX
    backups.sweep(time.monotonic())
    assert views(log) == 0


def test_a_backup_that_holds_too_much_of_the_past_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HELD_ROWS_MAX", 10 * 2)  # a tenant, and what its identity is
    log, backups = a_log(), Backups()
    ask(backups, log)
    log.make(*(tenant(f"new{number}") for number in range(10)))
    backups.sweep(time.monotonic())
    assert views(log) == 1
    log.make(tenant("one-more"))
    backups.sweep(time.monotonic())
    assert views(log) == 0


def test_too_many_at_once_are_refused_and_complete_ones_do_not_count() -> None:
    log, backups = a_log(1), Backups()
    for _ in range(2 * BACKUPS_MAX):
        finish(backups, log, ask(backups, log))
    for _ in range(BACKUPS_MAX):
        ask(backups, log)
    with pytest.raises(Overloaded):
        ask(backups, log)


def test_after_the_catalog_was_replaced_a_backup_has_to_begin_anew() -> None:
    log, backups = a_log(), Backups()
    piece = ask(backups, log)
    backups.clear()
    with pytest.raises(NotFound):
        ask(backups, log, piece.backup, 1)
