"""The options that all commands of `felix-admin` have."""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from felix.cli.admin.client import Access, AdminClient, base_url
from felix.cli.admin.contexts import Context, Contexts, load, path_of_file
from felix.cli.admin.errors import Usage
from felix.cli.admin.output import FORMATS

F = TypeVar("F", bound=Callable[..., Any])

ENDPOINTS_VARIABLE: Final = "FELIX_ADMIN_ENDPOINTS"
TOKEN_VARIABLE: Final = "FELIX_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE_VARIABLE: Final = "FELIX_ADMIN_TOKEN_FILE"  # noqa: S105 - the same
CONTEXT_VARIABLE: Final = "FELIX_ADMIN_CONTEXT"
CA_VARIABLE: Final = "FELIX_ADMIN_CA_FILE"
DEFAULT_ENDPOINT: Final = "127.0.0.1:8443"
TIMEOUT_S_DEFAULT: Final = 600.0
_TOKEN_FILE: Final = "token_file"  # noqa: S105 - the name of an option
_CA_FILE: Final = "ca_file"
_CONTEXT: Final = "context"
_FOUND: Final = "felix.context"
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""RFC 6750, section 2.1."""
_HOW_TO_GIVE_A_TOKEN: Final = (
    f"put the token alone into a file: --token-file FILE or {TOKEN_FILE_VARIABLE}"
)


def _client(
    command: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> AdminClient:
    told = [one for text in given for one in text.replace(",", " ").split()]
    context = context_of(command)
    token_file, ca_file = command.meta.get(_TOKEN_FILE), command.meta.get(_CA_FILE)
    token = _token(token_file)
    if context.endpoints and not told:  # what lets one in there is shown to its servers alone
        if not token:
            token = _token_of_context(context)
        ca_file = ca_file or context.ca_file
    endpoints = told or list(context.endpoints) or [DEFAULT_ENDPOINT]
    client = AdminClient(endpoints, Access(token, ca_file or ""))
    command.call_on_close(client.close)
    return client


def context_of(command: click.Context) -> Context:
    """Give the context that counts for a command: the named one, else the current one, if any.

    Raises: Usage.
    """
    if _FOUND not in command.meta:
        known = load(path_of_file())
        name = name_of_context(command, known)
        command.meta[_FOUND] = known.named(name) if name else Context()
    found: Context = command.meta[_FOUND]
    return found


def default_of(command: click.Context, member: str) -> str | None:
    """Give what the context says that is meant, if it says so. Raises: Usage."""
    context = context_of(command)
    return {"tenant_id": context.tenant, "namespace": context.namespace}.get(member) or None


def name_of_context(command: click.Context, known: Contexts) -> str:
    """Say which context counts; empty: none."""
    return command.meta.get(_CONTEXT) or known.current


def _token_of_context(context: Context) -> str:
    if context.token:
        return context.token
    if context.token_file:
        return read_token(context.token_file, context.token_file)
    if context.token_env:
        token = os.environ.get(context.token_env, "").strip()
        return token and _checked(token, context.token_env)
    return ""


def _token(path: str | None) -> str:
    """Take the token from the file, else from the environment; never from the command line."""
    if path:
        return read_token(path, path)
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    return token and _checked(token, TOKEN_VARIABLE)


def read_token(path: str, place: str) -> str:
    """Read a token that stands alone in a file; `-` is stdin. Raises: Usage."""
    try:
        text = _stdin() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise Usage(f"{place} cannot be read", _HOW_TO_GIVE_A_TOKEN) from None
    return _checked(text.strip(), place)


def _stdin() -> str:
    """Read a token that is piped, or one that is typed and not shown."""
    if sys.stdin.isatty():
        typed: str = click.prompt("Token", hide_input=True, err=True)
        return typed
    return sys.stdin.read()


def _checked(token: str, place: str) -> str:
    if not _BEARER.fullmatch(token):
        raise Usage(f"what stands in {place} is no token", _HOW_TO_GIVE_A_TOKEN)
    return token


def complete_context(_command: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """Offer the names of contexts to a shell."""
    try:
        return [name for name in load(path_of_file()).contexts if name.startswith(begun)]
    except Usage:
        return []


def _remember(context: click.Context, option: click.Parameter, given: str | None) -> None:
    """Keep it for the client, which is made after all eager options have been read."""
    assert option.name is not None
    context.meta[option.name] = given


def _remember_file(context: click.Context, option: click.Parameter, given: str | None) -> None:
    if given is not None:
        try:
            ssl.create_default_context(cafile=given)
        except OSError:  # of which an SSLError is one
            raise Usage(
                f"{given} has no certificates of authorities in PEM", "name another: --ca-file FILE"
            ) from None
    _remember(context, option, given)


def _address(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    if given is not None:
        base_url(given)
    return given


def with_client(command: F) -> F:
    """Give a command `client`, and the options that say where it asks and how it is let in."""
    command = click.option(
        "--context",
        metavar="NAME",
        envvar=CONTEXT_VARIABLE,
        is_eager=True,
        expose_value=False,
        callback=_remember,
        shell_complete=complete_context,
        help=f"Cluster and token by a name: see `context`.  [${CONTEXT_VARIABLE}; default: the "
        "current one]",
    )(command)
    command = click.option(
        "--ca-file",
        metavar="FILE",
        envvar=CA_VARIABLE,
        is_eager=True,
        expose_value=False,
        callback=_remember_file,
        help="Who signs the nodes' certificates, in PEM; addresses are https:// then.  "
        f"[${CA_VARIABLE}; default: those this system trusts]",
    )(command)
    command = click.option(
        "--token-file",
        metavar="FILE",
        envvar=TOKEN_FILE_VARIABLE,
        is_eager=True,
        expose_value=False,
        callback=_remember,
        help=f"File with your token.  [${TOKEN_FILE_VARIABLE}, else the token in "
        f"${TOKEN_VARIABLE}, else that of the context]",
    )(command)
    return click.option(
        "-e",
        "--endpoint",
        "client",
        multiple=True,
        metavar="HOST:PORT",
        envvar=ENDPOINTS_VARIABLE,
        callback=_client,
        help="HTTP API of any node; several, one after the other or with commas, are tried in "
        f"turn.  [${ENDPOINTS_VARIABLE}, else those of the context, else {DEFAULT_ENDPOINT}]",
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
    """Give a command `wait`, on by default, and `timeout_s`."""
    return with_waiting_if(command, is_default=True)


def with_waiting_if(command: F, *, is_default: bool) -> F:
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
        default=is_default,
        show_default=True,
        help="Show progress until it is done.",
    )(command)


def node_option(command: F) -> F:
    """Give a command `node`, the address of a node to be asked about itself."""
    return click.option(
        "--node",
        metavar="HOST:PORT",
        callback=_address,
        help="HTTP API of the new node: it is asked who it is.",
    )(command)
