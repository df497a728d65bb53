"""`docs/cli.md`, and how its commands are run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from felix.cli.admin import main

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|text)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]


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
