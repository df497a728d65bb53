"""`docs/cli.md` says what `felix-admin` does: its commands are run as they stand."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import CliRunner

from felix.cli.admin import main
from felix.cli.admin.errors import (
    EXIT_REFUSED,
    EXIT_TIMED_OUT,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    HINTS,
    OutcomeUnknown,
    Refused,
    TimedOut,
    Unreachable,
    Usage,
)
from felix.cli.admin.reference import reference
from tests.cli.admin_page import BLOCKS, PAGE, run
from tests.support.http_server import serving
from tests.support.local_cluster import LocalCluster, LocalOutsider

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE: Final = ROOT / "docs" / "cli-reference.md"


@pytest.mark.slow
def test_every_command_of_the_page_works_and_shows_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some of them write files
    cluster = LocalCluster("node-1", "node-2", "node-3", learner_lag=1000, catch_up=400)
    with ExitStack() as stack:
        served = stack.enter_context(serving(cluster))
        places = {"127.0.0.1:17000": served, "127.0.0.1:17010": served}
        for place, name in (("127.0.0.1:17020", "node-3"), ("127.0.0.1:17030", "node-4")):
            outsider = LocalOutsider(name, cluster.cluster_id)
            places[place] = stack.enter_context(serving(outsider))
        runner = CliRunner(env={"FELIX_ADMIN_ENDPOINTS": None})
        shown = ""
        ran = 0
        for kind, block in BLOCKS:
            if kind == "text":
                assert without_blanks(block) in without_blanks(shown)
                continue
            for line in block.splitlines():
                if "--replace" in line:
                    cluster.kill("node-3")
                shown = run(line, places, runner)
                ran += 1
    assert ran > 10


def without_blanks(text: str) -> str:
    return "\n".join(line.rstrip().rstrip("─") for line in text.splitlines())


def test_the_page_of_all_commands_is_made_of_them() -> None:
    again = "make it anew: python -m felix.cli.admin.reference > docs/cli-reference.md"
    assert REFERENCE.read_text(encoding="utf-8") == reference(main), again


def test_every_command_that_a_page_names_is_there() -> None:
    for page in (PAGE, README):
        for words in re.findall(r"felix-admin ([a-z-]+(?: [a-z-]+)?)", page):
            noun, _, verb = words.partition(" ")
            found = main.commands.get(noun)
            assert found is not None, words
            if isinstance(found, click.Group) and verb:
                assert verb in found.commands, words


def test_exit_codes_are_what_the_page_and_the_help_say() -> None:
    codes: dict[type[click.ClickException], int] = {
        Refused: EXIT_REFUSED,
        Usage: EXIT_USAGE,
        Unreachable: EXIT_UNREACHABLE,
        OutcomeUnknown: EXIT_UNREACHABLE,
        TimedOut: EXIT_TIMED_OUT,
    }
    assert {kind.exit_code for kind in codes} == {1, 2, 3, 4}
    assert all(kind.exit_code == code for kind, code in codes.items())
    assert click.UsageError.exit_code == EXIT_USAGE
    for code in range(5):
        assert f"\n| {code} | " in PAGE
        assert f"{code} " in (main.help or "").partition("Exit codes:")[2]


def test_every_reason_that_has_a_hint_is_on_the_page() -> None:
    for reason in HINTS.keys() - {"not_found"}:
        assert f"`{reason}`" in PAGE
