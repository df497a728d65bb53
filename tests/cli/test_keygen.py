"""`felix-controlplane keygen`."""

from __future__ import annotations

import base64
from pathlib import Path

from click.testing import CliRunner

from felix.cli.options import EXIT_START
from felix.cli.server import main


def test_a_kek_is_32_bytes_and_another_one_each_time() -> None:
    made = [CliRunner().invoke(main, ["keygen", "kek"]).stdout for _ in range(2)]
    assert [len(base64.b64decode(text, validate=False)) for text in made] == [32, 32]
    assert made[0] != made[1]
    assert made[0].endswith("\n")


def test_a_kek_goes_to_a_new_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    result = CliRunner().invoke(main, ["keygen", "kek", "--out", str(path)])
    assert (result.exit_code, result.output) == (0, "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(path.read_text().strip(), validate=True)) == 32


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    path.write_text("precious")
    result = CliRunner().invoke(main, ["keygen", "kek", "--out", str(path)])
    assert result.exit_code == EXIT_START
    assert "exists" in result.stderr
    assert path.read_text() == "precious"
