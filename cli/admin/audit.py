"""`felix-admin audit`: who did what; and whether a copy of the trail is still what it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from felix.cli.admin.client import AdminClient
from felix.cli.admin.errors import Refused, Usage
from felix.cli.admin.options import with_client, with_output
from felix.cli.admin.output import Format, show_audit
from felix.cli.audit_file import Head, export, verify
from felix.http.audit_views import AuditPageView

_HEAD: Final = re.compile(r"([0-9]{1,19}):([0-9a-f]{64})", re.ASCII)


@click.group("audit")
def audit_group() -> None:
    """Who did what, and what was refused."""


@audit_group.command("list")
@click.option("--tenant", metavar="NAME", help="Only of this tenant.")
@click.option("--principal", metavar="ID", help="Only of this caller.")
@click.option("--operation", metavar="NAME", help="As in DeleteStream.")
@click.option("--result", metavar="CODE", help="`success`, or the code of a refusal.")
@click.option("--request-id", metavar="ID", help="Only of this request.")
@click.option("--from", "from_", metavar="TIME", help="As in 2026-01-31T12:00:00Z.")
@click.option("--to", metavar="TIME", help="Up to this time.")
@click.option("--before", type=click.IntRange(min=1), metavar="N", help="Only older than this one.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@with_client
@with_output
def list_records(
    client: AdminClient,
    output: Format,
    from_: str | None,
    limit: int,
    **filters: str | int | None,
) -> None:
    """Show the newest records first, those that match all options."""
    show_audit(_page(client, limit, {"from": from_, **filters}), output)


@audit_group.command("export")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Where to; what a file has already is checked and not fetched again.",
)
@with_client
def export_trail(client: AdminClient, out: Path) -> None:
    """Write the whole trail into a file, oldest first, a JSON object a line.

    Keep what the last line says somewhere else: it proves everything up to it.
    """

    def ask(before: int, page_size: int) -> AuditPageView:
        return client.audit(_query({"before": before or None, "page_size": page_size}))

    try:
        written, head = export(ask, out, lambda text: click.echo(text, err=True))
    except OSError as error:
        raise Usage(f"{out}: {error.strerror}", "name a file that can be written") from error
    click.echo(f"written   {written:,}")
    if head.hash:
        click.echo(f"head      {head}")


@audit_group.command("verify")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--head", "wanted", metavar="SEQ:HASH", help="As an export or a list has said it.")
def verify_file(file: Path, wanted: str | None) -> None:
    """Compute the hashes of an exported FILE again, without a cluster.

    Names the first line that was changed, moved, inserted, or before which one is missing. That
    lines are missing at the end only --head can tell.
    """
    expected = _head_of(wanted) if wanted is not None else None
    try:
        found = verify(file, expected)
    except OSError as error:
        raise Usage(f"{file}: {error.strerror}", "name a file that was exported") from error
    if expected is not None and not found.is_head_seen:
        raise Refused(
            f"record {expected.sequence} is not in it: it has {found.first} to "
            f"{found.head.sequence}",
            "it was cut short, or the head is of a later export",
        )
    click.echo(f"intact    records {found.first:,} to {found.head.sequence:,}")
    click.echo(f"head      {found.head}")


def _page(client: AdminClient, limit: int, filters: dict[str, Any]) -> AuditPageView:
    """Ask until there is something to show, or nothing more to look at."""
    page = client.audit(_query({**filters, "page_size": limit}))
    while not page.items and page.next_before:
        page = client.audit(_query({**filters, "page_size": limit, "before": page.next_before}))
    return page


def _query(members: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in members.items() if value is not None})


def _head_of(text: str) -> Head:
    match = _HEAD.fullmatch(text)
    if match is None:
        raise Usage(f"{text!r} is no head", "write it as an export has said it: SEQ:HASH")
    return Head(int(match[1]), match[2])
