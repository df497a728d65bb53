"""What the deletion of a tenant or a namespace would take along (`?dry_run=true`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import falcon
import msgspec

from felix.http.desk import Desk
from felix.http.views import DeletionView
from felix.proto.errors import NotFound, PreconditionFailed
from felix.proto.queries import (
    ListCaches,
    Listing,
    ListNamespaces,
    ListStreams,
)
from felix.proto.resources import Namespace, Resource, Stream, kind_of

NAMES_MAX: Final = 100
QUESTIONS_MAX: Final = 2_000
"""Pages read for one preview: a tenant of more namespaces is counted in part."""


class Preview:
    """Counts, page by page, as the answering node has them.

    The first question was linearizable; those that follow read what the same node has.
    """

    def __init__(self, desk: Desk, req: falcon.Request) -> None:
        self._desk = desk
        self._request_id: str = req.context.request_id
        self._questions = 0
        self._names: list[str] = []
        self._counts = {"Namespace": 0, "Stream": 0, "Cache": 0}
        self._durable = 0
        self._deleted = 0

    def of_tenant(self, tenant_id: str) -> DeletionView:
        """Count what is in a tenant."""
        namespaces = list(self._all(ListNamespaces(tenant_id=tenant_id)))
        for one in namespaces:
            self._count(one)
        for one in namespaces:
            assert isinstance(one, Namespace)
            self._count_inside(tenant_id, one.namespace)
        return self._view()

    def of_namespace(self, tenant_id: str, namespace: str) -> DeletionView:
        """Count what is in a namespace."""
        self._count_inside(tenant_id, namespace)
        return self._view()

    def _count_inside(self, tenant_id: str, namespace: str) -> None:
        for query in (
            ListStreams(tenant_id=tenant_id, namespace=namespace),
            ListCaches(tenant_id=tenant_id, namespace=namespace),
        ):
            for one in self._all(query):
                self._count(one)
        deleted = ListStreams(tenant_id=tenant_id, namespace=namespace, is_deleted=True)
        self._deleted += sum(1 for _ in self._all(deleted))

    def _count(self, one: Resource) -> None:
        kind = kind_of(one)
        self._counts[kind] += 1
        self._durable += isinstance(one, Stream) and one.spec.durability == "durable"
        if len(self._names) < NAMES_MAX:
            self._names.append(f"{kind.lower()}:{'/'.join(one.key)}")

    def _all(self, query: ListNamespaces | ListStreams | ListCaches) -> Iterator[Resource]:
        while self._questions < QUESTIONS_MAX:
            self._questions += 1
            try:
                page = self._desk.go_on(query, Listing, self._request_id)
            except NotFound:  # deleted since it was listed
                return
            yield from page.items
            if not page.next_page_token:
                return
            query = msgspec.structs.replace(query, page_token=page.next_page_token)

    def _view(self) -> DeletionView:
        return DeletionView(
            namespaces=self._counts["Namespace"],
            streams=self._counts["Stream"],
            durable_streams=self._durable,
            deleted_streams=self._deleted,
            caches=self._counts["Cache"],
            names=self._names,
            is_complete=self._questions < QUESTIONS_MAX,
        )


def demand_version(one: Resource, expected: int | None) -> None:
    """Refuse what the deletion would refuse. Raises: PreconditionFailed."""
    if expected not in {None, one.version}:
        raise PreconditionFailed(
            f"the {kind_of(one).lower()} {'/'.join(one.key)!r} was changed",
            details={"expected": expected or 0, "actual": one.version},
        )
