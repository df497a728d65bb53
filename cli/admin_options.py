"""The options that all commands of `felix-admin` have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from felix.cli.admin_client import AdminClient, base_url
from felix.cli.admin_output import FORMATS

F = TypeVar("F", bound=Callable[..., Any])

ENDPOINTS_VARIABLE: Final = "FELIX_ADMIN_ENDPOINTS"
DEFAULT_ENDPOINT: Final = "127.0.0.1:8443"
TIMEOUT_S_DEFAULT: Final = 600.0


def _client(
    context: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> AdminClient:
    endpoints = [one for text in given for one in text.replace(",", " ").split()]
    client = AdminClient(endpoints or [DEFAULT_ENDPOINT])
    context.call_on_close(client.close)
    return client


def _address(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    if given is not None:
        base_url(given)
    return given


def with_client(command: F) -> F:
    """Give a command `client`, and `-e`/`--endpoint`."""
    return click.option(
        "-e",
        "--endpoint",
        "client",
        multiple=True,
        metavar="HOST:PORT",
        envvar=ENDPOINTS_VARIABLE,
        callback=_client,
        help="HTTP API of any node; several, one after the other or with commas, are tried in "
        f"turn.  [${ENDPOINTS_VARIABLE}; default: {DEFAULT_ENDPOINT}]",
    )(command)


def with_output(command: F) -> F:
    """Give a command `output`, and `-o`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="How the result is written to stdout.",
    )(command)


def with_waiting(command: F) -> F:
    """Give a command `wait` and `timeout_s`."""
    command = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        default=TIMEOUT_S_DEFAULT,
        show_default=True,
        metavar="SECONDS",
        help="Stop waiting after this time; the change goes on.",
    )(command)
    return click.option(
        "--wait/--no-wait",
        default=True,
        show_default=True,
        help="Show progress until the change is committed.",
    )(command)


def node_option(command: F) -> F:
    """Give a command `node`, the address of a node to be asked about itself."""
    return click.option(
        "--node",
        metavar="HOST:PORT",
        callback=_address,
        help="HTTP API of the new node: it is asked who it is.",
    )(command)
