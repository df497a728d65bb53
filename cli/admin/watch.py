"""`felix-admin watch`: updates of the metadata as they are committed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Final, get_args

import click
import msgspec
import yaml

from felix.cli.admin.client import AdminClient, Request
from felix.cli.admin.errors import OutcomeUnknown, Refused, Unreachable, plain
from felix.cli.admin.options import with_client, with_output
from felix.cli.admin.output import Format
from felix.http.views import UpdateView
from felix.proto.resources import ResourceKind
from felix.proto.updates import UpdateType

WAIT_MS: Final = 20_000
BATCH: Final = 500
AGAIN_S: Final = 1.0
"""After a question that nobody answered."""
_NAMES: Final = ("tenant_id", "namespace")
_OWN: Final = ("stream", "cache", "broker_id", "name", "kid", "principal")


class Filter(msgspec.Struct, frozen=True):
    """Which updates are shown; empty: all."""

    kinds: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    tenant: str = ""
    namespace: str = ""
    name: str = ""
    """With `*` or `?` a pattern."""

    def takes(self, update: UpdateView) -> bool:
        """Whether an update is one of them."""
        payload = update.payload
        assert isinstance(payload, dict)
        return (
            (not self.kinds or update.kind in self.kinds)
            and (not self.types or update.type in self.types)
            and self.tenant in {"", payload.get("tenant_id")}
            and self.namespace in {"", payload.get("namespace")}
            and (not self.name or fnmatchcase(path_of(payload)[-1], self.name))
        )


@click.command("watch")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(get_args(ResourceKind)),
    help="Only updates of this kind; may be repeated.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(get_args(UpdateType)),
    help="Only what was created, updated or deleted; may be repeated.",
)
@click.option("-t", "--tenant", default="", metavar="NAME", help="Only of this tenant.")
@click.option("-n", "--namespace", default="", metavar="NAME", help="Only of this namespace.")
@click.option("--name", default="", metavar="TEXT", help="Only of this name; * and ? as usual.")
@click.option(
    "--from",
    "from_version",
    type=click.IntRange(min=0),
    metavar="VERSION",
    help="All after this version, as far as history goes.  [default: from now on]",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many.")
@with_client
@with_output
def watch_command(
    kinds: tuple[str, ...],
    types: tuple[str, ...],
    tenant: str,
    namespace: str,
    name: str,
    from_version: int | None,
    count: int | None,
    client: AdminClient,
    output: Format,
) -> None:
    """Show updates of the metadata as they are committed, until Ctrl-C.

    Goes on where it was when a node or the leader is lost: no update is left out or shown twice.
    """
    wanted = Filter(kinds, types, tenant, namespace, name)
    try:
        for number, update in enumerate(filter(wanted.takes, updates(client, from_version)), 1):
            _show(update, output)
            if number == count:
                return
    except KeyboardInterrupt:
        return


def updates(client: AdminClient, from_version: int | None) -> Iterator[UpdateView]:
    """Give every update after a version, or from now on. Raises: Refused, Unreachable at first."""
    view = client.cluster()
    version, epoch = view.version if from_version is None else from_version, view.epoch
    while True:
        try:
            batch = client.watch(_request(version, epoch))
        except (Unreachable, OutcomeUnknown) as error:
            first = error.message.splitlines()[-1].strip()
            click.echo(f"{first}; going on after version {version:,}", err=True)
            time.sleep(AGAIN_S)
            continue
        except Refused as error:
            raise _explained(error, version) from error
        yield from batch.updates
        version = batch.last


def _request(version: int, epoch: int) -> Request:
    query = {"from_version": version, "epoch": epoch, "wait_ms": WAIT_MS, "limit": BATCH}
    return Request(
        path="/v1/metadata/watch",
        query={name: str(value) for name, value in query.items()},
        patience_s=WAIT_MS / 1000,
    )


def _explained(error: Refused, version: int) -> Refused:
    hints = {
        "compacted": "begin with what there is: felix-admin metadata snapshot -o json, then watch "
        "--from its version",
        "future_version": f"version {version:,} is yet to come: felix-admin watch without --from",
    }
    hint = hints.get(error.code, error.hint)
    return Refused(error.message, hint, code=error.code, reason=error.reason)


def path_of(payload: dict[str, Any]) -> list[str]:
    """Give the names that lead to an object."""
    own = [payload[name] for name in _OWN if payload.get(name)]
    outer = [payload[name] for name in _NAMES if payload.get(name)]
    return [*outer, *own[:1]] or [""]


def _show(update: UpdateView, output: Format) -> None:
    match output:
        case "json":
            text = msgspec.json.encode(update).decode()
        case "yaml":
            document = msgspec.to_builtins(update)
            text = "---\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip()
        case "table":
            assert isinstance(update.payload, dict)
            text = plain(
                f"v{update.version:<8} {update.payload['updated_at']}  {update.type:6} "
                f"{update.kind:15} {'/'.join(path_of(update.payload))}"
            )
    click.echo(text)
    sys.stdout.flush()
