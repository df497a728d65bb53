"""Whatever happens to the files of a journal: all that was acknowledged, or a refusal.

By default every byte of the database is flipped once as a stop leaves it, and every byte of the
write-ahead file in each state in which a kill may leave it; with `FELIX_EXHAUSTIVE=1` every byte of
every file in every state.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from felix.proto.ids import NodeId, Term
from felix.proto.raft import HardState
from felix.storage.errors import Damaged, ForeignDirectory
from tests.storage.damage import (
    FILES,
    OWNER,
    PAGE_BYTES,
    Life,
    entry,
    killed,
    live,
    lives,
    opened,
    outcome,
)

pytestmark = pytest.mark.slow

JOURNAL, WAL, MARK = FILES
EXHAUSTIVE = bool(os.environ.get("FELIX_EXHAUSTIVE"))
STATES = ("used", "carried over", "used again", "closed")
FRAME_BYTES = 24 + PAGE_BYTES


@pytest.fixture(scope="module")
def lived(scratch: Path) -> dict[str, Life]:
    return lives(scratch)


@pytest.fixture
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


def summary(outcomes: Counter[str]) -> str:
    refused = outcomes.total() - outcomes["whole"]
    return f"{outcomes['whole']} whole, {refused} refused"


@pytest.mark.parametrize("state", STATES)
def test_the_files_as_a_kill_leaves_them_are_whole(
    lived: dict[str, Life], folder: Path, state: str
) -> None:
    with capture_logs() as logs:
        assert outcome(lived[state], folder) == "whole"
    assert logs == []


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("state", STATES)
def test_no_flipped_byte_takes_anything_away(
    lived: dict[str, Life], folder: Path, state: str, name: str
) -> None:
    if name not in lived[state].files:
        pytest.skip("a journal that was closed has no write-ahead file")
    if name != WAL and state != "closed" and not EXHAUSTIVE:
        pytest.skip("this file of this state is flipped with FELIX_EXHAUSTIVE=1")
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    life, outcomes = lived[state], Counter[str]()
    whole = life.files[name]
    for offset in range(len(whole)):
        damaged = bytearray(whole)
        damaged[offset] ^= chance.randrange(1, 256)
        outcomes[outcome(life.but(name, bytes(damaged)), folder)] += 1
    print(summary(outcomes))
    if name == MARK:
        assert set(outcomes) == {"whole"}, "the mark alone takes nothing away"
    elif name == WAL or state == "closed":
        assert outcomes.total() - outcomes["whole"] > 500, "damage that nobody notices"


def test_every_flipped_byte_of_the_write_ahead_file_is_noticed(
    lived: dict[str, Life], folder: Path
) -> None:
    life = lived["used again"]
    whole = life.files[WAL]
    used = len(whole) - len(whole[32:]) % FRAME_BYTES - FRAME_BYTES
    for offset in (*range(32), *range(32, used, 7)):
        damaged = bytearray(whole)
        damaged[offset] ^= 1
        assert "missing" in outcome(life.but(WAL, bytes(damaged)), folder), offset


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", FILES)
def test_no_cut_takes_anything_away(lived: dict[str, Life], folder: Path, name: str) -> None:
    life, outcomes = lived["used again"], Counter[str]()
    for length in range(len(life.files[name])):
        outcomes[outcome(life.but(name, life.files[name][:length]), folder)] += 1
    print(summary(outcomes))


@pytest.mark.parametrize("name", [JOURNAL, WAL])
@pytest.mark.parametrize("content", ["missing", "empty", "zeros", "text"])
def test_a_file_that_is_not_there_or_not_one_is_noticed(
    lived: dict[str, Life], folder: Path, name: str, content: str
) -> None:
    life = lived["used again"]
    size = len(life.files[name])
    data = {
        "missing": None,
        "empty": b"",
        "zeros": bytes(size),
        "text": b"not a database at all" * (size // 21 + 1),
    }[content]
    life.but(name, data).put(folder)
    with pytest.raises(Damaged), opened(folder) as journal:
        journal.recover()


@pytest.mark.parametrize("content", [None, b"", bytes(1024), b"\xff" * 1024, b"short"])
def test_a_mark_that_is_missing_or_damaged_is_one_warning(
    lived: dict[str, Life], folder: Path, content: bytes | None
) -> None:
    with capture_logs() as logs:
        assert outcome(lived["used again"].but(MARK, content), folder) == "whole"
    assert [one["log_level"] for one in logs] == ["warning"]
    with capture_logs() as logs, opened(folder) as journal:
        journal.recover()
    assert logs == [], "it was made anew"


def test_a_mark_of_another_node_is_as_good_as_damaged(
    lived: dict[str, Life], scratch: Path, folder: Path
) -> None:
    life = lived["used again"]
    with opened(folder, owner="b" * 32) as journal:
        journal.recover()
        for term in range(1, 50):
            journal.append(HardState(Term(term), NodeId("b")), [])
        strange = (folder / MARK).read_bytes()
    with capture_logs() as logs:
        assert outcome(life.but(MARK, strange), folder) == "whole"
    assert len(logs) == 1


def test_a_journal_of_another_node_is_refused(lived: dict[str, Life], folder: Path) -> None:
    lived["used again"].put(folder)
    with pytest.raises(ForeignDirectory, match=OWNER), opened(folder, owner="b" * 32):
        pass


def test_files_from_two_moments_never_pass_for_the_later_one(scratch: Path, folder: Path) -> None:
    """As when a backup is laid over the journal."""
    moments = list(every_moment(scratch))
    for number, earlier in enumerate(moments):
        for later in moments[number + 1 :]:
            mixed = later.but(JOURNAL, earlier.files[JOURNAL]).but(WAL, earlier.files[WAL])
            assert outcome(mixed, folder) != "whole"


def test_a_mark_that_a_power_cut_held_back_is_no_damage(scratch: Path, folder: Path) -> None:
    moments = list(every_moment(scratch))
    with capture_logs() as logs:
        for number, earlier in enumerate(moments):
            for later in moments[number:]:
                held_back = later.but(MARK, earlier.files[MARK])
                assert outcome(held_back, folder) == "whole"
    assert logs == []


def every_moment(scratch: Path) -> Iterator[Life]:
    """Stop a life after each of its appends, cuts and compactions."""
    for stop in range(12):
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            folder = Path(name) / "life"
            folder.mkdir()
            with opened(folder) as journal:
                journal.recover()
                live(journal, steps_max=stop)
                yield killed(folder)


def test_a_tail_torn_by_a_crash_is_dropped_with_one_warning(scratch: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        path = Path(name) / "life"
        path.mkdir()
        with opened(path) as journal:
            journal.recover()
            live(journal)
            before = killed(path)
            journal.append(None, [entry(18, 3)])
            after = killed(path)
    start = len(before.files[WAL]) - FRAME_BYTES
    torn = after.files[WAL]
    for length in range(start + 24, len(torn) - FRAME_BYTES, 16):
        with capture_logs() as logs:
            life = before.but(WAL, torn[:length])
            assert outcome(life, folder) == "whole"
        assert [one["log_level"] for one in logs] == ["warning"], length
        assert "cut short" in logs[0]["event"]
