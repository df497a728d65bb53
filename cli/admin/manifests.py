"""`felix-admin apply`, `diff`, `delete` and `get`: the cluster as documents in files."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
import msgspec
import yaml

from felix.cli.admin.client import IDEMPOTENCY_KEY, AdminClient, Request
from felix.cli.admin.errors import OutcomeUnknown, Refused, Usage, plain
from felix.cli.admin.manifest_files import Loaded, load
from felix.cli.admin.manifest_objects import ALL, KINDS, documents
from felix.cli.admin.options import with_client
from felix.http.manifest_views import FateView, ManifestsView

F = TypeVar("F", bound=Callable[..., Any])

APPLY: Final = "/v1/manifests/apply"
DELETE: Final = "/v1/manifests/delete"
EXIT_CHANGES: Final = 1
EXIT_TROUBLE: Final = 2
"""Of `diff`, whatever the trouble is: 1 says that there are changes, as with diff(1)."""
_DOCUMENT: Final = "document"


class Documents(msgspec.Struct, frozen=True):
    """What is sent."""

    documents: list[Any]


def with_files(command: F) -> F:
    """Give a command `files`, and `-f`."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=True,
        metavar="FILE|DIR|-",
        help="Documents in YAML or JSON; of a folder all of them; - reads stdin.",
    )(command)


@click.command()
@with_files
@click.option("--dry-run", is_flag=True, help="Let the cluster try it, and change nothing.")
@with_client
def apply(files: tuple[str, ...], dry_run: bool, client: AdminClient) -> None:
    """Make objects what documents say: all of them in one transaction, or none.

    What a document leaves out stays as it is. Applying again changes nothing.
    """
    loaded = load(files)
    view = _send(client, APPLY + ("?dry_run=true" if dry_run else ""), loaded)
    _show(view)
    _end_if_refused(view, loaded)


@click.command()
@with_files
@with_client
def diff(files: tuple[str, ...], client: AdminClient) -> None:
    """Show what `apply` would change: the cluster tries it, and changes nothing.

    Exit codes: 0 nothing would change; 1 something would; 2 it would be refused, or there is
    other trouble.
    """
    try:
        loaded = load(files)
        view = _send(client, f"{APPLY}?dry_run=true", loaded)
        _show(view, only_changes=True)
        _end_if_refused(view, loaded)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_TROUBLE)
    if any(one.result != "unchanged" for one in view.documents):
        sys.exit(EXIT_CHANGES)


@click.command()
@with_files
@click.option("--dry-run", is_flag=True, help="Let the cluster try it, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@with_client
def delete(files: tuple[str, ...], dry_run: bool, yes: bool, client: AdminClient) -> None:
    """Delete the objects of documents, with all inside, in one transaction.

    Durable streams keep their data for a time in which they can be had back. What is gone already
    is passed over.
    """
    loaded = load(files)
    lost = _send(client, f"{DELETE}?dry_run=true&confirm_durable=true", loaded)
    _end_if_refused(lost, loaded)
    if dry_run:
        _show(lost)
        return
    count = sum(one.objects for one in lost.documents)
    if count and not yes:
        if not sys.stdin.isatty():
            raise Usage(
                f"{count} objects would be deleted, and there is no terminal to ask on",
                "see which with --dry-run, then say --yes",
            )
        _show(lost, stderr=True)
        click.confirm(f"{count} objects are deleted. Go on?", abort=True, err=True)
    _show(_send(client, f"{DELETE}?confirm_durable=true", loaded))


@click.command()
@click.argument("kind", type=click.Choice((*KINDS, "all"), case_sensitive=False))
@click.argument("name", default="")
@click.option("--tenant", metavar="NAME", help="Only of this tenant, where NAME does not say it.")
@click.option("--namespace", metavar="NAME", help="Only of this namespace of the tenant.")
@click.option(
    "-o", "--output", type=click.Choice(("yaml", "json")), default="yaml", show_default=True
)
@with_client
def get(
    kind: str,
    name: str,
    tenant: str | None,
    namespace: str | None,
    output: str,
    client: AdminClient,
) -> None:
    """Write objects of a KIND as documents that `apply` takes back without a change.

    NAME is that of one object, with the names around it as in acme/production/orders, or of what
    the objects are in. `all` is everything that documents can make.
    """
    if namespace is not None and tenant is None:
        raise Usage("a namespace is in a tenant", "say which: --tenant NAME")
    around = tuple(one for one in (tenant, namespace) if one is not None)
    names = (*around, *(part for part in name.split("/") if part))
    if kind == "all" and len(names) > 2:
        raise Usage("all is of the cluster, a tenant or a namespace", "felix-admin get stream NAME")
    kinds = ALL[len(names) :] if kind == "all" else (kind,)
    if kind == "all" and names:
        kinds = (ALL[len(names) - 1], *(one for one in kinds if one != "bridge"))
    found = [one for each in kinds for one in documents(client, each, names)]
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        click.echo(
            yaml.safe_dump_all(found, sort_keys=False, allow_unicode=True, explicit_start=True),
            nl=False,
        )


# --- asking, and saying what came of it -----------------------------------------------------------


def _send(client: AdminClient, path: str, loaded: list[Loaded]) -> ManifestsView:
    """Ask for a set. Raises: AdminError, which says where in the files the trouble is."""
    try:
        return client.read(
            Request(
                method="POST",
                path=path,
                headers={IDEMPOTENCY_KEY: secrets.token_hex(16)},
                body=Documents([one.body for one in loaded]),
            ),
            ManifestsView,
        )
    except OutcomeUnknown as error:
        hint = "run the same again: what was done is not done twice"
        raise OutcomeUnknown(error.message, hint) from error
    except Refused as error:
        place = error.details.get(_DOCUMENT)
        if not isinstance(place, int):
            raise
        pointer = str(error.details.get("pointer", ""))
        where = loaded[place].at(pointer)
        also = error.details.get("first")
        first = f" (it is in {loaded[also].at('')} too)" if isinstance(also, int) else ""
        hint = f"correct {pointer or 'the document'} there; felix-admin diff tries it"
        if error.reason:
            hint = error.hint
        raise Refused(
            f"{where}: {error.message}{first}", hint, code=error.code, reason=error.reason
        ) from error


def _end_if_refused(view: ManifestsView, loaded: list[Loaded]) -> None:
    """End if a document of a trial would be refused. Raises: Refused."""
    problems = []
    for one in view.documents:
        if one.error is not None:
            pointer = str(one.error.details.get("pointer", ""))
            where = loaded[one.document].at(pointer)
            problems.append(f"{where}: {one.kind} {one.name}: {one.error.message}")
    if problems:
        raise Refused(
            "nothing of it would be applied\n" + "\n".join(f"  {one}" for one in problems),
            "correct these documents, and see what would change: felix-admin diff -f ...",
        )


def _show(view: ManifestsView, *, only_changes: bool = False, stderr: bool = False) -> None:
    for one in view.documents:
        if only_changes and one.result == "unchanged":
            continue
        click.echo(plain(f"{one.kind} {one.name} {_said(one, view)}"), err=stderr)
        for change in one.changes:
            if one.result == "updated":
                click.echo(
                    plain(f"  {change.field}: {change.before} -> {change.after}"), err=stderr
                )
            elif one.result == "created" and only_changes:
                click.echo(plain(f"  {change.field}: {change.after}"), err=stderr)
    for stream in view.placements:
        for shard in stream.shards:
            copies = ", ".join([shard.leader, *shard.replicas])
            click.echo(plain(f"shard {stream.stream}/{shard.shard_id} on {copies}"), err=stderr)
    for unmet in view.unmet:
        text = f"shard {unmet.stream}/{unmet.shard_id} lacks copies: {unmet.why}"
        click.echo(plain(text), err=stderr)
    if view.not_planned:
        click.echo(f"{view.not_planned} more streams: too many shards to look where they would go")


def _said(one: FateView, view: ManifestsView) -> str:
    inside = f" with {one.objects - 1} more" if one.result == "deleted" and one.objects > 1 else ""
    would = " (dry run)" if view.dry_run else ""
    return f"{one.result}{inside}{would}"


COMMANDS: Final = (apply, diff, delete, get)
"""For the tool itself; none of them is in a group."""
