"""An exported audit trail: whatever is done to the file is found, and where."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.cli.admin.errors import Refused
from felix.cli.audit_file import PAGE_SIZE, export, verify
from felix.core.catalog.catalog import CatalogLimits
from felix.http.audit_views import AuditPageView, page_view
from felix.proto.commands import CreateTenant, RecordRefusals
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.identity import AuditPage, Refusal
from felix.proto.queries import GetAudit
from tests.support.catalog_log import NOON_MS
from tests.support.local_control_plane import LocalControlPlane


class Trail:
    """A cluster with a trail, and a file beside it."""

    def __init__(self, path: Path, records: int = 0, limits: CatalogLimits | None = None) -> None:
        self.path = path
        self.plane = LocalControlPlane(limits=limits or CatalogLimits())
        self.said: list[str] = []
        self.grow(records)

    def grow(self, records: int) -> None:
        """Refuse somebody so many times."""
        refusals = tuple(
            Refusal(
                time_ms=NOON_MS + number,
                operation="ExchangeToken",
                code="unauthorized",
                reason='it "ended"\n\u2028 ended \U0001f525',
                object="stream:x" if number % 3 else "",
                count=number + 1,
            )
            for number in range(records)
        )
        for start in range(0, records, 100):
            self.plane.ask(RecordRefusals(node="n1", refusals=refusals[start : start + 100]))

    def ask(self, before: int, page_size: int) -> AuditPageView:
        page = self.plane.ask(GetAudit(before=before, page_size=page_size)).result
        assert isinstance(page, AuditPage)
        return page_view(page)

    def export(self) -> int:
        """Export; give how many records were written."""
        return export(self.ask, self.path, self.said.append)[0]


def felix_admin(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


def broken(path: Path, code: int = 1) -> str:
    """Verify a file that must be found broken; give what is said."""
    result = felix_admin("verify", path)
    assert result.exit_code == code, result.output
    assert re.search(r"^Try: \S", result.stderr, re.MULTILINE)
    assert result.stdout == ""
    return result.stderr


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Forty records in a file."""
    trail = Trail(tmp_path_factory.mktemp("audit") / "trail.jsonl", 40)
    assert trail.export() == 40
    return trail.path.read_bytes()


def test_an_exported_trail_is_intact_and_has_all_that_the_cluster_has(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail.jsonl", 2 * PAGE_SIZE + 7)
    trail.export()
    result = felix_admin("verify", trail.path)
    assert result.exit_code == 0, result.output
    newest = trail.ask(0, 1)
    assert f"head      {newest.last_sequence}:{newest.last_hash}" in result.stdout
    assert "records 1 to 307" in result.stdout
    lines = [msgspec.json.decode(line) for line in trail.path.read_bytes().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, 308))
    assert lines[4]["stream"] == "x"


def test_no_changed_byte_goes_unnoticed(exported: bytes, tmp_path: Path) -> None:
    path = tmp_path / "trail.jsonl"
    lines = exported.splitlines(keepends=True)[:4]
    data = b"".join(lines)
    for position in range(len(data)):
        for bit in (1 << position % 8, 1 << (position + 3) % 8):
            changed = bytearray(data)
            changed[position] ^= bit
            path.write_bytes(changed)
            with pytest.raises(Refused) as caught:
                verify(path)
            number = data[:position].count(b"\n") + 1
            said = re.search(r"line (\d+)", caught.value.message)
            assert said is not None
            assert int(said[1]) in {number, number + 1}  # a previous hash is of both


Damage = Callable[[list[bytes], int], None]


def _delete(lines: list[bytes], at: int) -> None:
    del lines[at]


def _swap(lines: list[bytes], at: int) -> None:
    lines[at], lines[at + 1] = lines[at + 1], lines[at]


def _repeat(lines: list[bytes], at: int) -> None:
    lines.insert(at, lines[at - 1])


def _blank(lines: list[bytes], at: int) -> None:
    lines.insert(at, b"\n")


def _respell(lines: list[bytes], at: int) -> None:
    lines[at] = lines[at].replace(b'":', b'": ', 1)


def _append_member(lines: list[bytes], at: int) -> None:
    lines[at] = lines[at].replace(b"}\n", b',"more":1}\n')


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_delete, "line 7 does not follow line 6: missing is record 7"),
        (_swap, "line 7 is out of order: record 7 should be here, and is on line 8"),
        (_repeat, "line 7 is repeated, inserted or out of order"),
        (_blank, "line 7 was changed: it is no record any more"),
        (_respell, "line 7 was changed: record 7 is spelled in another way"),
        (_append_member, "line 7 was changed"),
    ],
)
def test_the_first_line_that_is_wrong_is_named(
    exported: bytes, tmp_path: Path, damage: Damage, says: str
) -> None:
    lines = exported.splitlines(keepends=True)
    damage(lines, 6)
    path = tmp_path / "trail.jsonl"
    path.write_bytes(b"".join(lines))
    assert says in broken(path)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_done_to_lines_is_found(exported: bytes, tmp_path: Path, seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    original = exported.splitlines(keepends=True)
    lines = list(original)
    for _ in range(chance.randrange(1, 4)):
        damage = chance.choice([_delete, _swap, _repeat, _blank, _respell])
        damage(lines, chance.randrange(1, len(lines) - 2))
    path = tmp_path / "trail.jsonl"
    path.write_bytes(b"".join(lines))
    if lines == original:
        verify(path)
        return
    with pytest.raises(Refused):
        verify(path)


def test_a_record_that_was_changed_together_with_its_hash_is_found_on_the_next_line(
    exported: bytes, tmp_path: Path
) -> None:
    lines = exported.splitlines(keepends=True)
    other = Trail(tmp_path / "other.jsonl")
    other.plane.ask(CreateTenant(tenant_id="acme"))
    other.grow(8)
    other.export()
    forged = other.path.read_bytes().splitlines(keepends=True)
    path = tmp_path / "trail.jsonl"
    path.write_bytes(b"".join([*forged[:7], *lines[7:]]))
    assert "line 8 does not follow line 7" in broken(path)


def test_what_is_cut_at_the_end_is_found_with_the_head(exported: bytes, tmp_path: Path) -> None:
    path = tmp_path / "trail.jsonl"
    path.write_bytes(exported)
    head = str(verify(path).head)
    assert felix_admin("verify", path, "--head", head).exit_code == 0
    path.write_bytes(b"".join(exported.splitlines(keepends=True)[:-3]))
    assert felix_admin("verify", path).exit_code == 0
    result = felix_admin("verify", path, "--head", head)
    assert result.exit_code == 1
    assert "record 40 is not in it: it has 1 to 37" in result.stderr
    path.write_bytes(exported[:-1])
    assert "line 40 is cut off" in broken(path)


def test_a_trail_that_was_made_up_as_a_whole_is_found_with_the_head(
    exported: bytes, tmp_path: Path
) -> None:
    true = tmp_path / "true.jsonl"
    true.write_bytes(exported)
    forger = Trail(tmp_path / "forged.jsonl")
    forger.plane.ask(CreateTenant(tenant_id="acme"))
    forger.grow(50)
    forger.export()
    assert felix_admin("verify", forger.path).exit_code == 0
    result = felix_admin("verify", forger.path, "--head", str(verify(true).head))
    assert result.exit_code == 1
    assert "record 40 has another hash than the head" in result.stderr


@pytest.mark.parametrize("head", ["7", "7:abc", "x:" + "0" * 64])
def test_what_is_no_head_is_refused(head: str, tmp_path: Path) -> None:
    assert felix_admin("verify", tmp_path / "x", "--head", head).exit_code == 2


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    assert felix_admin("verify", tmp_path / "nothing").exit_code == 2
    (tmp_path / "empty").touch()
    assert "there is no record in it" in broken(tmp_path / "empty")


# --- going on with a file -----------------------------------------------------------------------


def test_an_export_goes_on_where_the_file_ends(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail.jsonl")
    total = 0
    for records in (3, 0, PAGE_SIZE, 1, 2 * PAGE_SIZE + 1):
        trail.grow(records)
        assert trail.export() == records
        total += records
        assert verify(trail.path).head.sequence == total
    assert trail.said == []


def test_a_line_that_was_cut_off_is_written_anew(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail.jsonl", 12)
    trail.export()
    whole = trail.path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 100, len(whole.splitlines(keepends=True)[0]) - 5):
        trail.path.write_bytes(whole[:length])
        trail.export()
        assert trail.path.read_bytes() == whole
    assert len(trail.said) == 3


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "notes.txt", 3)
    for text in ("my notes, without an end", "my notes\nall of them\n"):
        trail.path.write_text(text, encoding="utf-8")
        with pytest.raises(Refused):
            trail.export()
        assert trail.path.read_text(encoding="utf-8") == text


def test_a_file_of_another_trail_is_not_gone_on_with(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail.jsonl", 5)
    trail.export()
    before = trail.path.read_bytes()
    for records in (0, 1, 200):
        other = Trail(trail.path)
        other.plane.ask(CreateTenant(tenant_id="acme"))
        other.grow(records)
        with pytest.raises(Refused, match="does not continue"):
            other.export()
        assert trail.path.read_bytes() == before


def test_a_trail_whose_start_is_gone_begins_later_and_a_gap_is_refused(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail.jsonl", 100, CatalogLimits(audit_records_max=256))
    trail.export()
    trail.grow(900)
    with pytest.raises(Refused, match="what was between them is gone"):
        trail.export()
    trail.path = tmp_path / "later.jsonl"
    trail.export()
    found = verify(trail.path)
    assert (found.first, found.head.sequence) == (513, 1000)


def test_what_is_not_shown_to_the_caller_cannot_be_exported(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail.jsonl", 5)
    call = Call(principal="alice")
    trail.plane.ask(CreateTenant(tenant_id="acme"), call)
    with pytest.raises(FelixError):
        trail.plane.ask(CreateTenant(tenant_id="acme"), call)

    def ask_as_a_tenant(before: int, page_size: int) -> AuditPageView:
        query = GetAudit(tenant_id="acme", before=before, page_size=page_size)
        page = trail.plane.ask(query).result
        assert isinstance(page, AuditPage)
        return page_view(page)

    with pytest.raises(Refused, match="not for you to see"):
        export(ask_as_a_tenant, trail.path, trail.said.append)
