"""`backup rotate`: a new backup beside the older ones, and the oldest of them gone."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from felix.cli.backup import (
    DIRECTORY,
    EXIT_BAD_BACKUP,
    EXIT_NOT_FETCHED,
    FILE,
    describe_backup,
)
from felix.cli.config import Config
from felix.cli.options import CONFIG_OPTION, EXIT_START, end, ending_if_too_old, load_config
from felix.cli.settings import node_curve
from felix.core.catalog.backup import BadBackup, ReadBackup
from felix.proto.errors import FelixError
from felix.recovery.backups import save_backup
from felix.recovery.errors import Refused
from felix.recovery.rotation import drop_older, name_of
from felix.transport.node_curve import Place, Way, way_to
from felix.transport.rpc_client import RpcClient


class _NotFetched(Exception):
    """No member gave a backup; why, for each of them."""


@click.command("rotate")
@click.argument("folder", metavar="DIR", type=DIRECTORY)
@click.option(
    "--keep",
    required=True,
    type=click.IntRange(min=1, max=100_000),
    help="How many backups stay, the new one among them.",
)
@click.option("--timeout", "timeout_s", default=10.0, show_default=True, help="Per piece, seconds.")
@click.option(
    "--secret-key-file",
    type=FILE,
    help="Key pair of an operator  [default: curve.secret_key_file of the configuration]",
)
@CONFIG_OPTION
@ending_if_too_old()
def rotate_command(
    folder: Path, keep: int, timeout_s: float, secret_key_file: Path | None, path: Path | None
) -> None:
    """Save a verified backup in DIR under the present time, then remove the oldest there.

    The members that the configuration names are asked one after the other. Everything acknowledged
    before is in the backup, which needs a quorum: a node that was left behind does not push out
    good backups. Nothing is removed unless the new one is whole, and only files named as this
    command names them.
    """
    config = load_config(path)
    if secret_key_file is not None:
        curve = msgspec.structs.replace(config.curve, secret_key_file=str(secret_key_file))
        config = msgspec.structs.replace(config, curve=curve)
    file = folder / name_of(time.time())
    try:
        found = _save(config, file, timeout_s)
        dropped = drop_older(file, keep)
    except _NotFetched as error:
        end(EXIT_NOT_FETCHED, str(error))
    except BadBackup as error:
        end(EXIT_BAD_BACKUP, f"what was sent is not a whole backup: {error}")
    except (OSError, Refused) as error:
        end(EXIT_START, str(error))
    click.echo(f"file            {file}")
    describe_backup(found)
    for one in dropped:
        click.echo(f"removed         {one}")


def _save(config: Config, file: Path, timeout_s: float) -> ReadBackup:
    """Have one member give a backup. Raises: _NotFetched, Refused, BadBackup, TooOld, OSError."""
    curve = node_curve(config)
    refusals = []
    for member in config.cluster.members:
        way = way_to(Place(member.name, member.rpc), curve)
        if way is None:
            refusals.append(f"{member.name}: its key is not in {config.curve.allow_list_file}")
            continue
        try:
            return _save_from(way, file, timeout_s)
        except FelixError as error:
            refusals.append(f"{member.name} ({member.rpc}): {error.message} ({error.code})")
    raise _NotFetched("no member gave a backup:\n  " + "\n  ".join(refusals))


def _save_from(way: Way, file: Path, timeout_s: float) -> ReadBackup:
    client = RpcClient(f"tcp://{way.address}", curve=way.curve)
    try:
        return save_backup(client, file, consistency="linearizable", timeout_s=timeout_s)
    finally:
        client.close()
