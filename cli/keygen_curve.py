"""`felix-controlplane keygen curve`: a key pair for a node, a broker or an operator."""

from __future__ import annotations

from pathlib import Path

import click

from felix.cli.keygen import write_secret
from felix.transport.curve import new_key_pair, render_key_pair


@click.command("curve")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file that only you can read.",
)
def keygen_curve(out: Path) -> None:
    """Make a CURVE key pair, and print its public key.

    A node names the file in `curve.secret_key_file`. The public key goes into the allow-list of
    every node, `curve.allow_list_file`: a line `role name public-key`, where the role is node,
    broker or admin, and the name of a node that of a member.
    """
    pair = new_key_pair()
    write_secret(out, render_key_pair(pair))
    click.echo(pair.public)
