"""What destroys asks first: on a terminal it says what is lost, elsewhere it wants `--yes`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
import msgspec

from felix.cli.admin.client import AdminClient, Request
from felix.cli.admin.command import Command
from felix.cli.admin.errors import Refused, Usage, plain
from felix.cli.admin.members import DOORS, members_of

UNTYPED: Final = frozenset({"texts", "pairs", "streams"})
"""What is given several times: nothing that destroys takes such things."""
F = TypeVar("F", bound=Callable[..., Any])


def yes_option(command: F) -> F:
    """Give a command `yes`."""
    return click.option(
        "--yes", is_flag=True, help="Do not ask. Needed where there is no terminal."
    )(command)


def confirm(
    command: Command, request: Request, given: dict[str, Any], client: AdminClient, *, is_sure: bool
) -> Request:
    """Ask whoever types, and give the request that says they were asked.

    Raises: Usage where there is no terminal, click.Abort on a no, AdminError of a preview.
    """
    parameters = {one.name for one in DOORS[command.operation].parameters}
    lost = command.destroys.format_map({**dict.fromkeys(given, ""), **given})
    if not is_sure:
        if not sys.stdin.isatty():
            again = shlex.join(["felix-admin", *command.name.split(), *_typed(command, given)])
            raise Usage(f"{lost}, and there is no terminal to ask on", f"{again} --yes")
        if "dry_run" in parameters:
            lost += _preview(client, request)
        click.confirm(f"{plain(lost)}. Go on?", abort=True, err=True)
    if "confirm" in parameters:
        return msgspec.structs.replace(
            request, query={**request.query, "confirm": given[command.own]}
        )
    return request


def _typed(command: Command, given: dict[str, Any]) -> list[str]:
    """Write the command again, with all that it has come to know."""
    words: list[str] = []
    for one in members_of(command):
        if one.name not in given or one.reads in UNTYPED:
            continue
        value = plain(str(given[one.name]))
        if one.name in {command.own, *command.arguments}:
            words.insert(0, value)
        elif given[one.name] is True:
            words.append(one.flag)
        else:
            words += [one.flag, value]
    return words


def _preview(client: AdminClient, request: Request) -> str:
    """Ask what would go with it."""
    query = {**request.query, "dry_run": "true"}
    try:
        found = client.ask(msgspec.structs.replace(request, query=query)).document
    except Refused as error:
        if error.code == "not_found":
            raise
        return ""
    kinds = ("namespaces", "streams", "durable_streams", "caches")
    counts = [f"{found[kind]:,} {kind.replace('_', ' ')}" for kind in kinds if found[kind]]
    more = "" if found["is_complete"] else ", and more"
    return f": {', '.join(counts) or 'it is empty'}{more}"
