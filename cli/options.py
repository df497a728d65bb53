"""What several commands share."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click

from felix.cli import config_loading as configuration
from felix.cli.config import Config
from felix.proto.levels import EXIT_TOO_OLD, TooOld

EXIT_CONFIG = 2
EXIT_START = 3
"""A port is taken, or the data directory is locked, foreign, damaged or empty."""

CONFIG_OPTION = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"YAML file [default: ${configuration.CONFIG_PATH_VARIABLE}, else the environment alone]",
)


def load_config(path: Path | None, *, to_serve: bool = False) -> Config:
    """Read the configuration, or say what is wrong with it and end."""
    try:
        return configuration.load(path, os.environ, to_serve=to_serve)
    except configuration.ConfigError as error:
        for problem in error.problems:
            click.echo(f"felix-controlplane: {problem}", err=True)
        sys.exit(EXIT_CONFIG)


def end(code: int, message: str) -> NoReturn:
    """Say why and end."""
    click.echo(f"felix-controlplane: {message}", err=True)
    sys.exit(code)


@contextlib.contextmanager
def ending_if_too_old() -> Iterator[None]:
    """End as a node does that meets what a newer build wrote; also to decorate a command."""
    try:
        yield
    except TooOld as error:
        end(EXIT_TOO_OLD, str(error))
