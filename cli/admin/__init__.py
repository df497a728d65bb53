"""`felix-admin`: the operator's tool. Talks HTTP to any node; needs no configuration of a node."""

from __future__ import annotations

import click

from felix import __version__
from felix.cli.admin.audit import audit_group
from felix.cli.admin.cluster import cluster_group

GROUPS = (cluster_group, audit_group)
"""Each group is a module of its own."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Look after a Felix cluster.

    Exit codes: 0 done; 1 the cluster refused, or you did; 2 the command is wrong; 3 no node
    answers, there is no leader, or the outcome is unknown; 4 waiting took too long.
    """


for group in GROUPS:
    main.add_command(group)
