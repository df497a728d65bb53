"""`felix-controlplane`: run a node or a cluster, check a configuration, back up and rescue."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from felix import __version__
from felix.cli import logs
from felix.cli.backup import backup_group, restore_command
from felix.cli.backup_rotate import rotate_command
from felix.cli.config import BrokersConfig, LogConfig
from felix.cli.config_loading import show
from felix.cli.dev import dev
from felix.cli.dev_idp_command import dev_idp
from felix.cli.dev_nodes import DevError
from felix.cli.keygen import keygen_group
from felix.cli.keygen_curve import keygen_curve
from felix.cli.options import CONFIG_OPTION, EXIT_CONFIG, EXIT_START, end, load_config
from felix.cli.recover import recover_group
from felix.cli.serve import serve
from felix.cli.sim_broker_command import sim_broker
from felix.cli.step_down import step_down_command
from felix.core.catalog.dump import BadDump
from felix.proto.levels import EXIT_TOO_OLD, TooOld
from felix.storage.errors import StorageError
from felix.storage.sealed import Unsealable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """The Felix control plane."""


@main.command("serve")
@CONFIG_OPTION
def serve_command(path: Path | None) -> None:
    """Run one node until SIGTERM."""
    config = load_config(path, to_serve=True)
    logs.set_up(config.log)
    try:
        sys.exit(serve(config))
    except TooOld as error:
        end(EXIT_TOO_OLD, str(error))
    except Unsealable as error:  # the files were good a moment ago, when they were checked
        end(EXIT_CONFIG, str(error))
    except (OSError, StorageError, BadDump) as error:
        end(EXIT_START, str(error))


@main.command("dev")
@click.option("--nodes", default=3, type=click.IntRange(1, 5), show_default=True)
@click.option("--brokers", default=3, type=click.IntRange(0, 1000), show_default=True)
@click.option("--data-dir", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--base-port", default=17000, type=click.IntRange(1024, 65000), show_default=True)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Gets a JSON document with all addresses once everything is up.",
)
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    help="No tokens, no CURVE: every door open to whoever is on this machine.",
)
@click.option(
    "--broker-interval-ms",
    default=5000,
    type=click.IntRange(100, 600_000),
    show_default=True,
    help="How often brokers report; one that misses three is down.",
)
@click.option(
    "--rebuild-after-s",
    default=300,
    type=click.IntRange(min=0),
    show_default=True,
    help="The copies of a broker that has been down for so long are made elsewhere.",
)
def dev_command(
    nodes: int,
    brokers: int,
    data_dir: Path,
    base_port: int,
    ready_file: Path | None,
    *,
    is_open: bool,
    broker_interval_ms: int,
    rebuild_after_s: int,
) -> None:
    """Run a whole cluster on this machine."""
    if nodes not in {1, 3, 5}:
        end(EXIT_CONFIG, f"1, 3 or 5 nodes make a cluster, not {nodes}")
    logs.set_up(LogConfig(level="warning"))
    times = BrokersConfig(heartbeat_interval_ms=broker_interval_ms, rebuild_after_s=rebuild_after_s)
    try:
        dev(nodes, brokers, data_dir, base_port, ready_file, times, is_open=is_open)
    except (OSError, DevError) as error:
        end(EXIT_START, str(error))


@main.group("config")
def config_group() -> None:
    """Look at the configuration."""


@config_group.command("check")
@CONFIG_OPTION
def config_check(path: Path | None) -> None:
    """Say whether a configuration is right, and print it whole, but for secrets."""
    click.echo(show(load_config(path, to_serve=True)), nl=False)


main.add_command(keygen_group)
main.add_command(backup_group)
backup_group.add_command(rotate_command)
main.add_command(restore_command)
main.add_command(sim_broker)
main.add_command(recover_group)
main.add_command(dev_idp)
main.add_command(step_down_command)
keygen_group.add_command(keygen_curve)
