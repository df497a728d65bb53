"""`felix-admin`: the operator's tool. Talks HTTP to any node; needs no configuration of a node."""

from __future__ import annotations

import click

from felix import __version__
from felix.cli.admin.audit import audit_group
from felix.cli.admin.backup import backup_group
from felix.cli.admin.cluster import cluster_group
from felix.cli.admin.completion import completion_command
from felix.cli.admin.context_commands import context_group
from felix.cli.admin.debug import debug_group
from felix.cli.admin.runner import groups
from felix.cli.admin.table import NOUNS
from felix.cli.admin.top import top_command
from felix.cli.admin.watch import watch_command

BY_HAND = (
    cluster_group,
    audit_group,
    backup_group,
    context_group,
    debug_group,
    completion_command,
    watch_command,
    top_command,
)
"""Those that are written by hand; the table adds nouns, and verbs to these."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Look after a Felix cluster.

    Exit codes: 0 done; 1 the cluster refused, or you did; 2 the command is wrong; 3 no node
    answers, there is no leader, or the outcome is unknown; 4 waiting took too long.
    """


def _fill() -> None:
    for group in BY_HAND:
        main.add_command(group)
    for noun, commands in groups().items():
        if noun not in main.commands and noun:
            main.add_command(click.Group(noun, help=NOUNS[noun]))
        place = main.commands[noun] if noun else main
        assert isinstance(place, click.Group)
        for command in commands:
            place.add_command(command)


_fill()
