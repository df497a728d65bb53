"""`felix-controlplane keygen`: make the secrets that a configuration names."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Final

import click

from felix.cli.options import EXIT_START, end

KEK_BYTES: Final = 32


@click.group("keygen")
def keygen_group() -> None:
    """Make keys and secrets."""


OUT_OPTION: Final = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file that only you can read  [default: standard output]",
)


@keygen_group.command("kek")
@OUT_OPTION
def keygen_kek(out: Path | None) -> None:
    """Make a key-encryption key: it protects the keys that sign tokens.

    Name the file in `keys.kek_file` of every node; all nodes have the same one.
    """
    text = base64.b64encode(secrets.token_bytes(KEK_BYTES)).decode() + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        write_secret(out, text)


def write_secret(path: Path, text: str) -> None:
    """Write a new file of mode 0600; end with a message if there is one already.

    A key is never overwritten: what was encrypted with it would be lost.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        end(EXIT_START, f"{path}: {error.strerror}")
