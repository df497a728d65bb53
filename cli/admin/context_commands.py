"""`felix-admin context`: clusters by name."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from felix.cli.admin.client import base_url
from felix.cli.admin.confirmation import yes_option
from felix.cli.admin.contexts import Context, Contexts, load, path_of_file, save
from felix.cli.admin.errors import Usage, plain
from felix.cli.admin.options import complete_context, read_token, with_output
from felix.cli.admin.output import Format, show_document
from felix.cli.admin.tables import show_one, show_rows

COLUMNS = ("CURRENT=current", "NAME=name", "ENDPOINTS=endpoints", "TOKEN=token", "TENANT=tenant",
           "NAMESPACE=namespace")  # fmt: skip


@click.group("context")
def context_group() -> None:
    """Clusters by name: where they are, who you are there, which tenant you mean."""


@context_group.command("list")
@with_output
def list_contexts(output: Format) -> None:
    """List contexts; tokens are never shown."""
    known = load(path_of_file())
    rows = [_row(name, known) for name in sorted(known.contexts)]
    if output != "table":
        show_document(rows, output)
    else:
        show_rows(COLUMNS, [{**row, "current": "*" if row["current"] else ""} for row in rows])


@context_group.command("show")
@click.argument("name", default="", shell_complete=complete_context)
@with_output
def show_context(name: str, output: Format) -> None:
    """Show one context, or the current one, and in which file it is."""
    known = load(path_of_file())
    name = name or _current(known)
    document = {"name": name, "file": str(path_of_file()), **known.named(name).shown()}
    if output != "table":
        show_document(document, output)
    else:
        show_one(document)


@context_group.command("use")
@click.argument("name", shell_complete=complete_context)
def use_context(name: str) -> None:
    """Make a context the current one."""
    path = path_of_file()
    known = load(path)
    known.named(name)
    save(path, msgspec.structs.replace(known, current=name))
    click.echo(f"context {name} is the current one")


@context_group.command("set")
@click.argument("name", shell_complete=complete_context)
@click.option(
    "-e",
    "--endpoint",
    "endpoints",
    multiple=True,
    metavar="HOST:PORT",
    help="HTTP API of a node; all of them, one after the other.",
)
@click.option("--ca-file", metavar="FILE", help="Who signs the nodes' certificates, in PEM.")
@click.option("--token-file", metavar="FILE", help="File with your token, read every time.")
@click.option("--token-env", metavar="VARIABLE", help="Environment variable with your token.")
@click.option("--token-stdin", is_flag=True, help="Read a token from stdin, and keep it here.")
@click.option("-t", "--tenant", metavar="NAME", help="Tenant that is meant if none is given.")
@click.option("-n", "--namespace", metavar="NAME", help="The same for the namespace.")
def set_context(name: str, token_stdin: bool, endpoints: tuple[str, ...], **given: Any) -> None:
    """Make a context, or change what is given of it; an empty value takes it away.

    The first one is the current one at once. Its token is shown to its own endpoints alone.
    """
    path = path_of_file()
    known = load(path)
    before = known.contexts.get(name, Context())
    changes = {member: value for member, value in given.items() if value is not None}
    sources = [member for member in ("token_file", "token_env") if changes.get(member)]
    if len(sources) + token_stdin > 1:
        raise Usage("a context has one source of tokens", "give one of the --token options")
    if sources or token_stdin:  # one takes the place of the other
        changes = {"token_file": "", "token_env": "", "token": "", "refresh_token": ""} | changes
    if token_stdin:
        changes["token"] = read_token("-", "stdin")
    if endpoints:
        changes["endpoints"] = tuple(
            base_url(one, is_tls=_is_tls(before, changes)) for one in endpoints
        )
    changed = msgspec.structs.replace(before, **changes)
    if not changed.endpoints:
        raise Usage(
            "a context needs a node", f"felix-admin context set {plain(name)} --endpoint HOST:PORT"
        )
    known = known.with_context(name, changed)
    save(path, known)
    click.echo(f"context {name} is set" + (", and current" if known.current == name else ""))


@context_group.command("delete")
@click.argument("name", shell_complete=complete_context)
@yes_option
def delete_context(name: str, yes: bool) -> None:
    """Forget a context, with the token that it keeps."""
    path = path_of_file()
    known = load(path)
    known.named(name)
    if not yes:
        if not sys.stdin.isatty():
            raise Usage(
                f"context {name} would be forgotten, and there is no terminal to ask on",
                f"felix-admin context delete {name} --yes",
            )
        click.confirm(f"Context {name} is forgotten, with its token. Go on?", abort=True, err=True)
    rest = {one: context for one, context in known.contexts.items() if one != name}
    current = "" if known.current == name else known.current
    save(path, Contexts(current, rest))
    click.echo(f"context {name} is forgotten")


def _row(name: str, known: Contexts) -> dict[str, Any]:
    one = known.contexts[name]
    source = one.token_file or (one.token_env and f"${one.token_env}")
    return {
        "name": name,
        "current": name == known.current,
        "endpoints": list(one.endpoints),
        "token": source or one.shown().get("token", ""),
        "tenant": one.tenant,
        "namespace": one.namespace,
    }


def _current(known: Contexts) -> str:
    if not known.current:
        raise Usage(
            "there is no current context", "felix-admin context set NAME --endpoint HOST:PORT"
        )
    return known.current


def _is_tls(before: Context, changes: dict[str, Any]) -> bool:
    return bool(changes.get("ca_file", before.ca_file))
