"""A log of commands and the catalog that applied it: what the catalog's tests stand on."""

from __future__ import annotations

from collections.abc import Iterable

from felix.core.catalog.catalog import Applied, Catalog, CatalogLimits
from felix.core.catalog.dump import Dump
from felix.core.catalog.rendering import SnapshotRendering
from felix.core.catalog.view import CatalogView
from felix.proto.codec import encode
from felix.proto.commands import (
    AnyCommand,
    CreateCache,
    CreateNamespace,
    CreateStream,
    CreateTenant,
    Deleted,
    Proposal,
    Stamp,
)
from felix.proto.errors import ErrorReply
from felix.proto.identity import NewKey
from felix.proto.ids import Index
from felix.proto.levels import level_of, read_proposal
from felix.proto.resources import RESOURCE_TYPES, Key, Resource

NOON_MS = 1_700_000_000_000


class CatalogLog:
    """Applies commands as a node does, and remembers the log."""

    def __init__(
        self, catalog: Catalog | None = None, *, limits: CatalogLimits | None = None
    ) -> None:
        self.catalog = catalog or Catalog("c1", limits=limits or CatalogLimits())
        self.entries: list[bytes] = []

    def do(
        self,
        command: AnyCommand,
        key: str | None = None,
        at_ms: int = NOON_MS,
        *,
        principal: str = "",
        new_key: NewKey | None = None,
    ) -> Applied:
        """Append a command to the log and apply it."""
        stamp = Stamp(at_ms, principal=principal, idempotency_key=key, new_key=new_key)
        return self.apply_stamped(stamp, command)

    def apply_stamped(self, stamp: Stamp, command: AnyCommand) -> Applied:
        """Append a command with a stamp of its own, and apply it."""
        self.entries.append(encode(Proposal(level_of(command), stamp, command)))
        return apply_entry(self.catalog, self.entries[-1])

    def make(self, *commands: AnyCommand) -> list[Resource]:
        """Apply commands that must succeed and leave something behind."""
        made = []
        for command in commands:
            result = self.do(command).result
            assert isinstance(result, Resource), result
            made.append(result)
        return made

    def delete(self, command: AnyCommand) -> Deleted:
        """Apply a command that must delete something."""
        result = self.do(command).result
        assert isinstance(result, Deleted), result
        return result

    def refuse(self, command: AnyCommand) -> ErrorReply:
        """Apply a command that must be refused, and leave no trace."""
        before = (self.catalog.version, self.catalog.digest)
        applied = self.do(command)
        assert isinstance(applied.result, ErrorReply), applied.result
        assert applied.updates == ()
        assert (self.catalog.version, self.catalog.digest) == before
        return applied.result


def apply_entry(catalog: Catalog, entry: bytes) -> Applied:
    """Apply the next entry of a log."""
    index = Index(catalog.applied_index + 1)
    return catalog.apply(index, read_proposal(index, entry))


def tenant(tenant_id: str = "acme") -> CreateTenant:
    return CreateTenant(tenant_id=tenant_id, display_name=tenant_id.title())


def namespace(name: str = "prod", tenant_id: str = "acme") -> CreateNamespace:
    return CreateNamespace(tenant_id=tenant_id, namespace=name)


def stream(name: str, space: str = "prod", tenant_id: str = "acme") -> CreateStream:
    return CreateStream(tenant_id=tenant_id, namespace=space, stream=name)


def cache(name: str, space: str = "prod", tenant_id: str = "acme") -> CreateCache:
    return CreateCache(tenant_id=tenant_id, namespace=space, cache=name)


def rows_of(view: CatalogView, count: int = 7) -> dict[tuple[str, Key], Resource]:
    """Read a whole view, slice by slice."""
    found: dict[tuple[str, Key], Resource] = {}
    for kind in RESOURCE_TYPES:
        after: Key | None = None
        while True:
            rows, after = view.slice(kind, after, count)
            assert len(rows) <= count
            found.update({(kind, row.key): row for row in rows})
            if after is None:
                break
    return found


def dumped(catalog: Catalog, records: int = 50) -> list[bytes]:
    """Dump a catalog into chunks."""
    dump = Dump(catalog)
    return list(iter(lambda: dump.step(records), None))


def rendered(view: CatalogView, slices: Iterable[int] = ()) -> list[bytes]:
    """Render a view in slices of the given sizes, then of 50."""
    rendering = SnapshotRendering(view)
    sizes = iter(slices)
    while not rendering.step(next(sizes, 50)):
        pass
    return list(rendering.chunks)
