"""`docs/cli.md`, and how its commands are run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from felix.cli.admin import main

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
_BEFORE, _, _REST = PAGE.partition("\n## Brokers and shards\n")
_BROKERS, _, _REST = _REST.partition("\n## The audit trail\n")
_AUDIT, _, _AFTER = _REST.partition("\n## ")


def blocks_of(text: str) -> list[tuple[str, str]]:
    """List what is to be typed, and what it shows, in their order."""
    return re.findall(r"```(sh|text)\n(.*?)```", text, re.DOTALL)


def commands_of(text: str) -> list[str]:
    """List the lines that are to be typed."""
    return [line for kind, block in blocks_of(text) if kind == "sh" for line in block.splitlines()]


BLOCKS = blocks_of(_BEFORE + _AFTER)
COMMANDS = commands_of(_BEFORE + _AFTER)
AUDIT_COMMANDS = commands_of(_AUDIT)
"""They need a trail."""
BROKER_COMMANDS = commands_of(_BROKERS)
"""They need brokers; the others need members."""


def run(line: str, places: dict[str, str], runner: CliRunner) -> str:
    """Run one line of the page, at the places where things are here; give all it shows."""
    for place, served in places.items():
        line = line.replace(place, served)
    if line.startswith("export "):
        name, _, value = line.removeprefix("export ").partition("=")
        runner.env = {name: value}
        return ""
    program, *arguments = shlex.split(line)
    assert program == "felix-admin"
    result = runner.invoke(main, arguments)
    assert result.exit_code == 0, (line, result.output)
    return result.output
