"""`backup save`, `backup verify`, `restore`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from felix.cli.config import Config
from felix.cli.options import CONFIG_OPTION, EXIT_START, end, ending_if_too_old, load_config
from felix.cli.settings import addresses_of, catalog_limits
from felix.core.catalog.backup import BadBackup, ReadBackup
from felix.core.catalog.renewal import MARGIN_DEFAULT, VERSION_MAX, TooOften
from felix.proto.errors import FelixError
from felix.recovery.backups import save_backup, verify_backup
from felix.recovery.errors import Refused
from felix.recovery.takeover import Floor, Founder, TakenOver, restore_backup
from felix.storage.errors import StorageError
from felix.transport.curve import ClientCurve, read_key_pair
from felix.transport.rpc_client import RpcClient

EXIT_BAD_BACKUP: Final = 4
"""The file is not a whole backup."""
EXIT_NOT_FETCHED: Final = 5
"""The node did not give a backup."""

FILE: Final = click.Path(dir_okay=False, path_type=Path)
DIRECTORY: Final = click.Path(file_okay=False, path_type=Path)
MARGIN_OPTION = click.option(
    "--margin",
    default=MARGIN_DEFAULT,
    type=click.IntRange(min=1),
    show_default=True,
    help="More than the number of updates that may be missing: versions go on above.",
)
EPOCH_OPTION = click.option(
    "--epoch",
    default=0,
    type=click.IntRange(min=0, max=VERSION_MAX),
    help="At least this one [default: the old one and one, or the time in seconds if that is more]",
)
ABOVE_OPTION = click.option(
    "--above",
    default=0,
    type=click.IntRange(min=0, max=VERSION_MAX),
    help="The last version that was in use, in any life of this metadata: versions go on above.",
)


@click.group("backup")
def backup_group() -> None:
    """Keep what the cluster knows somewhere else."""


@backup_group.command("save")
@click.option("--from", "address", required=True, help="RPC address of any node (host:port).")
@click.option(
    "--linearizable",
    is_flag=True,
    help="Everything acknowledged before is in it; needs a quorum.",
)
@click.option("--timeout", "timeout_s", default=10.0, show_default=True, help="Per piece, seconds.")
@click.option("--secret-key-file", type=FILE, help="Key pair of an operator, where nodes do CURVE.")
@click.option("--server-key", default="", help="Public CURVE key of the node that is asked.")
@click.argument("file", type=FILE)
@ending_if_too_old()
def save_command(
    address: str,
    linearizable: bool,
    timeout_s: float,
    secret_key_file: Path | None,
    server_key: str,
    file: Path,
) -> None:
    """Fetch a backup from a node into FILE, and verify it."""
    client = _client(address, secret_key_file, server_key)
    try:
        found = save_backup(
            client,
            file,
            consistency="linearizable" if linearizable else "stale",
            timeout_s=timeout_s,
        )
    except FelixError as error:
        end(EXIT_NOT_FETCHED, f"{address}: {error.message} ({error.code})")
    except BadBackup as error:
        end(EXIT_BAD_BACKUP, f"what {address} sent is not a whole backup: {error}")
    except (OSError, Refused) as error:
        end(EXIT_START, str(error))
    finally:
        client.close()
    describe_backup(found)


def _client(address: str, secret_key_file: Path | None, server_key: str) -> RpcClient:
    if (secret_key_file is None) != (not server_key):
        raise click.UsageError("--secret-key-file and --server-key belong together")
    if secret_key_file is None:
        return RpcClient(f"tcp://{address}")
    try:
        curve = ClientCurve(read_key_pair(secret_key_file), (server_key,))
        return RpcClient(f"tcp://{address}", curve=curve)
    except (OSError, ValueError) as error:
        end(EXIT_START, str(error))


@backup_group.command("verify")
@click.argument("file", type=FILE)
@ending_if_too_old()
def verify_command(file: Path) -> None:
    """Read FILE to its end, check every byte, build what is in it. Needs no node."""
    try:
        found = verify_backup(file)
    except BadBackup as error:
        end(EXIT_BAD_BACKUP, f"{file}: {error}")
    except OSError as error:
        end(EXIT_START, str(error))
    describe_backup(found)


@click.command("restore")
@click.argument("file", type=FILE)
@click.option("--data-dir", type=DIRECTORY, help="[default: data_dir of the configuration]")
@CONFIG_OPTION
@click.option("--replace", is_flag=True, help="Set aside what is in the directory; with --yes.")
@click.option("--yes", is_flag=True, help="I know what this replaces.")
@EPOCH_OPTION
@ABOVE_OPTION
@MARGIN_OPTION
@ending_if_too_old()
def restore_command(
    file: Path,
    data_dir: Path | None,
    path: Path | None,
    replace: bool,
    yes: bool,
    epoch: int,
    above: int,
    margin: int,
) -> None:
    """Make the data directory of the first node of a new cluster from the backup FILE."""
    config = load_config(path)
    try:
        made = restore_backup(
            file,
            data_dir or Path(config.data_dir),
            founder_of(config),
            catalog_limits(config),
            replace=replace and yes,
            floor=Floor(epoch=epoch, above=above, margin=margin),
        )
    except BadBackup as error:
        end(EXIT_BAD_BACKUP, f"{file}: {error}")
    except (OSError, Refused, StorageError, TooOften) as error:
        end(EXIT_START, str(error))
    describe_new_cluster(made)


def founder_of(config: Config) -> Founder:
    """Say who the node is that a configuration is for."""
    return Founder(config.name, config.cluster.name, addresses_of(config.self_as_member))


def describe_new_cluster(made: TakenOver) -> None:
    """Say what was made, and what is to be done next."""
    click.echo(f"data directory  {made.path}")
    if made.set_aside is not None:
        click.echo(f"the old one     {made.set_aside}")
    if made.unread:
        click.echo(f"NOT READ        its last version is not known: {made.unread}")
        click.echo("                if it is in use far above, restore again and give it: --above")
    click.echo(f"cluster         {made.cluster_id}, new")
    click.echo(f"node            {made.node_id}, its only voter")
    click.echo(f"epoch           {made.epoch}")
    click.echo(f"version         {made.version}")
    click.echo(f"digest          {made.digest}")
    click.echo(f"objects         {_counts(made.counts)}")
    click.echo(
        "Start this node, then the others with empty data directories, and add them as members."
    )


def describe_backup(found: ReadBackup) -> None:
    """Say what a backup is of."""
    header = found.header
    at = datetime.fromtimestamp(header.created_at_ms / 1000, UTC)
    click.echo(f"cluster         {header.cluster_id}")
    click.echo(f"made by         {header.node_id} at {at.isoformat(timespec='milliseconds')}")
    click.echo(f"epoch           {header.epoch}")
    click.echo(f"version         {header.version}")
    click.echo(f"log             entry {header.applied_index} of term {header.applied_term}")
    click.echo(f"objects         {_counts(found.catalog.counts())}")
    click.echo(f"digest          {header.digest}")
    click.echo(f"feature level   {header.feature_level}")
    click.echo(f"checksum        {found.checksum}")
    click.echo(f"size            {found.size_bytes} bytes")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
