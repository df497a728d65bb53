"""`felix-admin debug`: what somebody who looks into a fault must know, in one file."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from felix.cli.admin.client import AdminClient
from felix.cli.admin.errors import Unreachable, Usage
from felix.cli.admin.options import with_client
from felix.cli.config import Config
from felix.cli.config_loading import ConfigError, load, show
from felix.cli.debug_bundle import Bundle, folder_name
from felix.cli.debug_gathering import Fetcher, gather
from felix.cli.debug_redaction import Redactor, secrets_of

LOG_LINES: Final = 5000
LOG_BYTES_MAX: Final = 16 << 20


@click.group("debug")
def debug_group() -> None:
    """What somebody who looks into a fault must know."""


@debug_group.command("bundle")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The archive to be made.  [default: felix-debug-TIME.tar.gz]",
)
@click.option(
    "--metrics-endpoint",
    "metrics",
    multiple=True,
    metavar="HOST:PORT",
    help="Metrics listener of a node that no other knows; may be given again.",
)
@click.option(
    "--config",
    "configs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Configuration of a node on this machine; secrets in it stay here. May be given again.",
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Log of a node: its last {LOG_LINES} lines, without secrets. May be given again.",
)
@with_client
def bundle_command(
    client: AdminClient,
    out: Path | None,
    metrics: tuple[str, ...],
    configs: tuple[Path, ...],
    logs: tuple[Path, ...],
) -> None:
    """Write what all nodes that answer say of themselves into one archive.

    No quorum is needed, and no node: what could not be had is listed in manifest.json, with the
    reason. Secrets are taken out; look through it before you hand it on all the same.
    """
    out = out or Path(time.strftime("felix-debug-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime()))
    if out.exists():
        raise Usage(f"{out} is there already", "name another file: --out FILE")
    loaded, problems = _load(configs)
    known = [one for config in loaded.values() for one in secrets_of(config)]
    bundle = Bundle(Redactor([client.access.token, *known]), [*client.bases, *metrics])
    _add_local(bundle, loaded, problems, logs)
    with closing(Fetcher(client.access)) as fetcher:
        answered = gather(bundle, fetcher, client.bases, list(metrics))
    try:
        bundle.write(out)
    except OSError as error:
        raise Usage(
            f"{out} cannot be written: {error.strerror}", "name another: --out FILE"
        ) from error
    _tell(bundle, out, answered)


def _load(configs: tuple[Path, ...]) -> tuple[dict[Path, Config], dict[Path, str]]:
    """Read configurations, as their nodes would; one that is wrong is not shown at all."""
    loaded: dict[Path, Config] = {}
    problems: dict[Path, str] = {}
    for path in configs:
        try:
            loaded[path] = load(path, os.environ)
        except ConfigError as error:
            problems[path] = str(error)
    return loaded, problems


def _add_local(
    bundle: Bundle, loaded: dict[Path, Config], problems: dict[Path, str], logs: tuple[Path, ...]
) -> None:
    taken: list[str] = []
    for config in loaded.values():
        taken.append(folder_name(config.name, taken))
        bundle.add(f"local/config/{taken[-1]}.yaml", show(config).encode())
    for path, problem in problems.items():
        bundle.miss("local", str(path), problem)
    for path in logs:
        taken.append(folder_name(path.stem, taken))
        try:
            bundle.add(f"local/log/{taken[-1]}.log", _tail(path))
        except OSError as error:
            bundle.miss("local", str(path), str(error.strerror))


def _tail(path: Path) -> bytes:
    """Give the last lines of a log. Raises: OSError."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - LOG_BYTES_MAX))
        return b"".join(deque(file, maxlen=LOG_LINES))


def _tell(bundle: Bundle, out: Path, answered: int) -> None:
    """Say what was written and what is missing. Raises: Unreachable where no node answered."""
    manifest = bundle.manifest
    by_node: dict[str, list[str]] = {}
    for one in manifest.missing:
        by_node.setdefault(f"{one.node}: {one.why}", []).append(one.what)
    for place, what in by_node.items():
        click.echo(f"missing: {', '.join(what)} of {place}", err=True)
    click.echo(f"{out}: {len(manifest.entries)} files, of {answered} nodes that answered")
    if not answered:
        raise Unreachable(
            "no node answered: the archive holds what was found on this machine",
            "name the nodes: --endpoint HOST:PORT,... and --metrics-endpoint HOST:PORT",
        )
