"""A control plane inside the test's own process: the real catalog, without consensus or sockets."""

from __future__ import annotations

import threading
import time
from typing import Final

import msgspec

from felix.actors.backups import Backups
from felix.core.catalog import validation
from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.feed import Tombstone
from felix.core.catalog.idempotency import KEYS
from felix.core.catalog.identity_commands import NEEDS_A_KEY
from felix.core.catalog.rendering import SnapshotRendering
from felix.core.catalog.store import Row
from felix.proto import codec, levels
from felix.proto.brokers import MovePlan, ShardMove
from felix.proto.cluster import Operation
from felix.proto.command import Command
from felix.proto.commands import (
    AnyCommand,
    ApplyManifests,
    CreateTenant,
    Proposal,
    Stamp,
)
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import ErrorReply, MembershipRefused, ValidationFailed, from_reply
from felix.proto.identity import NewKey
from felix.proto.ids import Index, NodeId, Term
from felix.proto.queries import (
    AnyQuery,
    BackupPiece,
    ClusterStatus,
    GetBackup,
    GetBrokersHealth,
    GetCluster,
    GetPlacementPlan,
    GetReportedUsage,
    GetSnapshot,
    MemberStatus,
    PlanRebalance,
    WaitForBrokers,
    WatchUpdates,
)
from felix.proto.raft import Membership
from felix.proto.reports import AnyReport, ReportApplied, ReportHealth
from felix.proto.resources import Key
from felix.proto.rpc import Answer, AnyRequest
from felix.proto.updates import SnapshotChunk, UpdateBatch
from felix.storage.sealed import Sealer
from tests.support.local_brokers import LocalBrokers

NODE_ID: Final = "local"
KEK: Final = b"k" * 32
SLICE_RECORDS: Final = 250
MEMBERSHIP: Final = Membership((NodeId(NODE_ID),))

_objects = codec.Decoder[list[msgspec.Raw]](list[msgspec.Raw])


class LocalControlPlane:
    """A `felix.proto.control_plane.ControlPlane`; any thread may ask.

    Commands take the way they take in a node: checked, encoded, decoded, applied.
    """

    def __init__(
        self,
        cluster_id: str = "local",
        limits: CatalogLimits = CatalogLimits(),  # noqa: B008 - immutable
        sealer: Sealer | None = None,
    ) -> None:
        """Without a `sealer` it has one with the key-encryption key `KEK`, and gives a new tenant
        no key: a tenant costs one version then."""
        self._makes_first_keys = sealer is not None
        self.kek = KEK
        self.sealer = sealer or Sealer((KEK,))
        self._catalog = Catalog(cluster_id, limits=limits)
        self._backups = Backups()
        self._brokers = LocalBrokers(self._catalog)
        self._changed = threading.Condition()

    @property
    def catalog(self) -> Catalog:
        """The state machine itself."""
        return self._catalog

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Ask and get the answer at once; only `WatchUpdates` waits.

        Raises: any `felix.proto.errors.FelixError`.
        """
        with self._changed:
            if isinstance(message, Command):
                return self._command(message, call)
            if isinstance(message, GetCluster):
                return self._answered(self._cluster())
            if isinstance(message, Operation):
                raise MembershipRefused("this is one process", details={"reason": "one_process"})
            return self._answered(self._answer(message, call))

    def place_shards(self) -> None:
        """Place the streams that have no placement, as the leader's planner would."""
        with self._changed:
            self._command(self._brokers.placing(), Call())

    def _answer(self, message: AnyQuery | AnyReport, call: Call) -> Answer:
        match message:
            case GetSnapshot():
                return self._snapshot(message)
            case GetBackup():
                return self._backup(message)
            case WatchUpdates():
                return self._watch(message, call.timeout_s)
            case (
                ReportHealth()
                | ReportApplied()
                | GetBrokersHealth()
                | GetReportedUsage()
                | WaitForBrokers()
            ):
                return self._brokers.answer(message)
            case GetPlacementPlan() | PlanRebalance():
                return self._brokers.plan(message)
            case _:
                return self._catalog.answer(message)

    @property
    def digests(self) -> tuple[str, str]:
        """Digests of the objects and of what is behind identity: a change changes one of them."""
        return self._catalog.digest, self._catalog.rows_digest

    def rows_outside(self, tenant_id: str) -> dict[tuple[str, Key], Row]:
        """Give all rows that are not of a tenant, but for the keys that callers gave requests."""
        return {
            (name, key): row
            for name, table in self._catalog.store.tables.items()
            for key, row in table.rows.items()
            if name != KEYS and _tenant_of(row) != tenant_id
        }

    def _answered(self, result: Answer) -> Answered:
        return Answered(result, self._catalog.version)

    def _command(self, command: AnyCommand, call: Call) -> Answered:
        validation.check(command)
        self._brokers.check(command)
        validation.check_idempotency_key(call.idempotency_key)
        stamp = Stamp(
            time.time_ns() // 1_000_000,
            call.request_id,
            call.principal,
            call.source,
            call.idempotency_key,
            self._key_for(command),
            call.wants_acks,
            new_keys=self._keys_for(command),
        )
        levels.check(command, self._catalog.feature_level, MEMBERSHIP)
        data = codec.encode(Proposal(levels.level_of(command), stamp, command))
        index = Index(self._catalog.applied_index + 1)
        applied = self._catalog.apply(index, levels.read_proposal(index, data))
        if applied.updates:
            self._changed.notify_all()
        if isinstance(applied.result, ErrorReply):
            raise from_reply(applied.result)
        return Answered(applied.result, applied.version)

    def _key_for(self, command: AnyCommand) -> NewKey | None:
        if isinstance(command, CreateTenant) and not self._makes_first_keys:
            return None
        if not isinstance(command, (CreateTenant, *NEEDS_A_KEY)):
            return None
        return self.sealer.new_key(command.tenant_id)

    def _keys_for(self, command: AnyCommand) -> tuple[NewKey, ...]:
        if not isinstance(command, ApplyManifests) or not self._makes_first_keys:
            return ()
        tenants = (one.wanted for one in command.documents if isinstance(one.wanted, CreateTenant))
        return tuple(self.sealer.new_key(tenant.tenant_id) for tenant in tenants)

    def _watch(self, query: WatchUpdates, timeout_s: float) -> UpdateBatch:
        batch = self._catalog.answer(query)
        assert isinstance(batch, UpdateBatch)
        if not batch.updates and query.wait_ms > 0:
            seen = self._catalog.version
            wait_s = min(query.wait_ms / 1000, timeout_s)
            self._changed.wait_for(lambda: self._catalog.version != seen, wait_s)
            batch = self._catalog.answer(query)
            assert isinstance(batch, UpdateBatch)
        return batch

    def _snapshot(self, query: GetSnapshot) -> SnapshotChunk:
        if query.version < 0 or query.chunk < 0:
            raise ValidationFailed("version and chunk must not be negative")
        view = self._catalog.view_at(query.version or self._catalog.version)
        rendering = SnapshotRendering(view)
        while not rendering.step(SLICE_RECORDS):
            pass
        chunks = rendering.chunks
        if query.chunk >= len(chunks):
            raise ValidationFailed(f"this snapshot has {len(chunks)} chunks")
        return SnapshotChunk(
            self._catalog.cluster_id,
            view.epoch,
            view.version,
            query.chunk,
            len(chunks),
            view.digest,
            _objects.decode(chunks[query.chunk]),
        )

    def _backup(self, query: GetBackup) -> BackupPiece:
        return self._backups.next(
            query,
            self._catalog,
            applied_term=Term(1),
            node_id=NodeId(NODE_ID),
            membership=Membership((NodeId(NODE_ID),)),
        )

    def _cluster(self) -> ClusterStatus:
        catalog = self._catalog
        member = MemberStatus(
            id=NODE_ID,
            name=NODE_ID,
            role="leader",
            addresses={},
            match_index=catalog.applied_index,
            lag=0,
            active=True,
            voter=True,
        )
        return ClusterStatus(
            cluster_id=catalog.cluster_id,
            node_id=NODE_ID,
            leader_id=NODE_ID,
            term=1,
            commit_index=catalog.applied_index,
            applied_index=catalog.applied_index,
            version=catalog.version,
            epoch=catalog.epoch,
            digest=catalog.digest,
            members=[member],
            feature_level=catalog.feature_level,
        )


def _tenant_of(row: Row) -> object:
    match row:
        case Tombstone():
            return getattr(row.object, "tenant_id", None)
        case ShardMove():
            return row.stream.tenant_id
        case MovePlan():
            tenants = {move.stream.tenant_id for move in row.moves}
            return tenants.pop() if len(tenants) == 1 else None
        case _:
            return getattr(row, "tenant_id", None)
