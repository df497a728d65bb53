"""`felix-admin completion`: what a shell needs to complete commands, options and words."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

VARIABLE: Final = "_FELIX_ADMIN_COMPLETE"
PROGRAM: Final = "felix-admin"
SHELLS: Final[dict[str, type[ShellComplete]]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Write the completion script of a SHELL.

    For bash: source <(felix-admin completion bash), in ~/.bashrc to keep it.
    """
    complete = SHELLS[shell](context.find_root().command, {}, PROGRAM, VARIABLE)
    click.echo(ShellComplete.source(complete))  # BashComplete's own would start a bash to ask it
