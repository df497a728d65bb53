"""The replicated state machine: applies commands, counts versions, remembers what happened."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from felix.core.catalog import (
    identity_commands,
    manifest_trial,
    manifests,
    placement_handlers,
    placement_queries,
    queries,
    settings,
)
from felix.core.catalog.audit import AUDIT, AuditTrail
from felix.core.catalog.changes import steps_of
from felix.core.catalog.feed import TOMBSTONES
from felix.core.catalog.feeds import Feeds
from felix.core.catalog.history import Change, History
from felix.core.catalog.idempotency import KEYS, IdempotencyKeys, Result
from felix.core.catalog.identity_commands import IDENTITY_COMMANDS
from felix.core.catalog.identity_tables import (
    IDENTITY_ROWS,
    REFRESH_GRANTS,
    RefreshIndex,
    encoded_row,
)
from felix.core.catalog.placement_handlers import PLACEMENT_COMMANDS
from felix.core.catalog.placement_index import FOLLOWED, PlacementIndex
from felix.core.catalog.placement_queries import PLACEMENT_QUERIES
from felix.core.catalog.placement_tables import PLACEMENT_ROWS
from felix.core.catalog.renewal import NONE, Renewal
from felix.core.catalog.settings import SETTING_COMMANDS
from felix.core.catalog.steps import Context, Step
from felix.core.catalog.store import Store
from felix.core.catalog.trial import Trial
from felix.core.catalog.validation import check_documents
from felix.core.catalog.view import CatalogView
from felix.proto import codec
from felix.proto.commands import (
    AnyCommand,
    ApplyManifests,
    Deleted,
    FeatureLevel,
    Proposal,
    RecordRefusals,
    SetFeatureLevel,
    Stamp,
)
from felix.proto.digest import Digest
from felix.proto.errors import (
    Compacted,
    ErrorReply,
    FeatureLevelTooLow,
    FelixError,
    FutureVersion,
    ValidationFailed,
)
from felix.proto.identity import Done
from felix.proto.ids import Index
from felix.proto.levels import FEATURE_LEVEL
from felix.proto.manifests import ManifestsApplied
from felix.proto.queries import (
    AnyQuery,
    GetAudit,
    GetFeedChanges,
    GetFeedSnapshot,
    TryManifests,
    WatchUpdates,
)
from felix.proto.resources import RESOURCE_TYPES, Resource, ResourceKind
from felix.proto.rpc import Answer
from felix.proto.updates import RawUpdate, UpdateBatch, UpdateType

CHANGE_BYTES: Final = 200
"""What a change costs to keep besides its objects, roughly."""
BATCH_UPDATES_MAX: Final = 5000
BATCH_BYTES_MAX: Final = 1 << 20
EXPIRIES_MAX: Final = 100
"""Refresh grants that one entry sweeps away: a clock that leaps must not stop the node."""

PUBLIC: Final[tuple[ResourceKind, ...]] = tuple(RESOURCE_TYPES)
"""The tables that brokers see, parents first."""
ROWS: Final[dict[str, type]] = {**IDENTITY_ROWS, **PLACEMENT_ROWS}
"""Tables that only replicas see and commands change, with the type of their rows."""
INTERNAL: Final = (KEYS, TOMBSTONES, AUDIT, *ROWS)
"""The tables that only replicas see."""

Encoded: TypeAlias = bytes


class CatalogLimits(msgspec.Struct, frozen=True):
    """How much a catalog keeps besides the objects themselves. The same on every member."""

    history_updates_max: int = 100_000
    history_bytes_max: int = 64 << 20
    feed_rows_max: int = 10_000
    tombstones_max: int = 100_000
    """Per feed."""
    idempotency_keys_max: int = 100_000
    audit_records_max: int = 100_000
    """Whole segments: some hundred more or less."""


class Applied(msgspec.Struct, frozen=True):
    """What came of a command."""

    result: Result
    version: int
    """At which it took effect; for one that changed nothing, of the object or the catalog."""
    updates: tuple[RawUpdate, ...]


class Catalog:
    """All metadata of the cluster, at one point of the log."""

    def __init__(
        self,
        cluster_id: str,
        epoch: int = 1,
        limits: CatalogLimits = CatalogLimits(),  # noqa: B008
    ) -> None:
        """Make an empty catalog; `felix.core.catalog.dump.restore` makes one that is not."""
        self.cluster_id = cluster_id
        self.epoch = epoch
        self.limits = limits
        self.version = 0
        self.applied_index = Index(0)
        self.log_time_ms = 0
        """The highest stamp of any command: time as the log sees it."""
        self.feature_level = 1
        """In force; what a command does may depend on it, and never on the build's own level."""
        self.renewal = NONE
        """When it was last taken over into a new cluster."""
        self.store = Store((*PUBLIC, *INTERNAL))
        self.audit = AuditTrail(self.store, limits.audit_records_max)
        self._digest = Digest()
        self._rows_digest = Digest()
        self._refresh = RefreshIndex()
        self.placement = PlacementIndex(self.store)
        """To be read where the catalog may be."""
        self._begin()

    def _begin(self) -> None:
        limits = self.limits
        self.history = History(self.version, limits.history_updates_max, limits.history_bytes_max)
        self.feeds = Feeds(
            self.store, self.version, limits.feed_rows_max, limits.tombstones_max, self.renewal
        )
        self.idempotency = IdempotencyKeys(self.store, limits.idempotency_keys_max)

    @property
    def digest(self) -> str:
        """Proof of the metadata at this version, 32 hex digits."""
        return self._digest.hex()

    @property
    def rows_digest(self) -> str:
        """Proof of what only replicas see: identity, moves of shards; 32 hex digits."""
        return self._rows_digest.hex()

    @property
    def proof(self) -> str:
        """What replicas hold against each other; it differs where they do."""
        hidden = [len(self.store.tables[name].rows) for name in INTERNAL]
        numbers = f"{self.epoch}/{self.feature_level}/{self.version}/{self.log_time_ms}"
        return f"{numbers}/{hidden}/{self.audit.proof}/{self.rows_digest}/{self.digest}"

    def counts(self) -> dict[str, int]:
        """Count the live objects of each kind."""
        return {kind: len(self.store.tables[kind].rows) for kind in PUBLIC}

    # --- commands -----------------------------------------------------------------------------

    def skip(self, index: Index) -> None:
        """Pass over an entry that holds no command."""
        assert index == self.applied_index + 1
        self.applied_index = index

    def apply(self, index: Index, proposal: Proposal) -> Applied:
        """Apply the command of the next entry.

        A refusal by the state (already there, not there, changed meanwhile) is a result too.
        """
        self.skip(index)
        self.log_time_ms = max(self.log_time_ms, proposal.stamp.time_ms)
        self.idempotency.expire(self.log_time_ms)
        for key in self._refresh.expired(self.log_time_ms, EXPIRIES_MAX):
            grant = self.store.tables[REFRESH_GRANTS].rows[key]
            self._take_row(Step(REFRESH_GRANTS, key, grant, None))
        try:
            remembered = self.idempotency.find(proposal)
        except FelixError as error:
            reply = error.to_reply()
            self.audit.record(index, proposal, reply, self.version)
            return Applied(reply, self.version, ())
        if remembered is not None:
            return Applied(remembered.result, remembered.version, ())
        applied = self._apply_new(proposal)
        self.audit.record(index, proposal, applied.result, self.version)
        self.idempotency.keep(proposal, index, self.log_time_ms, applied.version, applied.result)
        return applied

    def _apply_new(self, proposal: Proposal) -> Applied:
        if isinstance(proposal.command, SetFeatureLevel):
            return Applied(self._raise_level(proposal.command.level), self.version, ())
        if isinstance(proposal.command, RecordRefusals):
            return Applied(Done(), self.version, ())  # the trail is all that it changes
        context = self._context(proposal.stamp)
        if isinstance(proposal.command, ApplyManifests):
            return self._apply_manifests(proposal.command, context)
        try:
            if isinstance(proposal.command, IDENTITY_COMMANDS):
                outcome = identity_commands.outcome_of(proposal.command, context)
            elif isinstance(proposal.command, PLACEMENT_COMMANDS):
                outcome = placement_handlers.outcome_of(proposal.command, context)
            elif isinstance(proposal.command, SETTING_COMMANDS):
                outcome = settings.outcome_of(proposal.command, context)
            else:
                steps = steps_of(proposal.command, context)
                return self._result_of(proposal.command, steps)
        except FelixError as error:
            return Applied(error.to_reply(), self.version, ())
        updates = self._take_all(outcome.steps)
        return Applied(outcome.result, self.version, updates)

    def _context(self, stamp: Stamp) -> Context:
        return Context(
            self.store,
            stamp,
            self.epoch,
            self.version + 1,
            self.applied_index,
            self.log_time_ms,
            self._refresh,
            self.placement,
        )

    def _apply_manifests(self, command: ApplyManifests, context: Context) -> Applied:
        """Try each document on what those before it left; make it so if none is refused."""
        trial = Trial(self.store, self.placement, self._refresh)
        fates = []
        contexts = manifests.contexts_of(context, command.documents)
        for place, (document, one) in enumerate(zip(command.documents, contexts, strict=True)):
            try:
                fates.append(manifests.take(document, one, trial))
            except FelixError as error:
                trial.take_back()
                return Applied(manifests.placed_by(error, place), self.version, ())
        updates = self._take_all(trial.take_back())
        return Applied(ManifestsApplied(tuple(fates)), self.version, updates)

    def _try_manifests(self, query: TryManifests) -> ManifestsApplied:
        check_documents(query.documents)
        trial = Trial(self.store, self.placement, self._refresh)
        try:
            return manifest_trial.look(query.documents, self._context(Stamp(0)), trial)
        finally:
            trial.take_back()

    def _result_of(self, command: AnyCommand, steps: list[Step]) -> Applied:
        updates = self._take_all(steps)
        if not steps:
            unchanged = self._object_of(command)
            return Applied(unchanged, unchanged.version, ())
        name = type(command).__name__
        last = next(step.after for step in reversed(steps) if name.endswith(step.kind))
        if last is None:
            return Applied(Deleted(self.version, len(updates)), self.version, updates)
        return Applied(last, self.version, updates)

    def _take_all(self, steps: list[Step]) -> tuple[RawUpdate, ...]:
        updates = []
        for step in steps:
            if step.kind in ROWS:
                self._take_row(step)
            else:
                updates.append(self._take(step))
            if step.kind in FOLLOWED:
                self.placement.follow(step.kind, step.before, step.after)
        return tuple(updates)

    def _take_row(self, step: Step) -> None:
        """Change a row that only replicas see: no version, but proof."""
        if step.before is not None:
            self._rows_digest.remove(encoded_row(step.kind, step.before))
        if step.after is not None:
            self._rows_digest.add(encoded_row(step.kind, step.after))
            self.store.put(step.kind, step.key, step.after)
        else:
            self.store.remove(step.kind, step.key)
        if step.kind == REFRESH_GRANTS:
            if step.before is not None:
                self._refresh.remove(step.before)
            if step.after is not None:
                self._refresh.put(step.after)

    def _raise_level(self, level: int) -> FeatureLevel | ErrorReply:
        assert level <= FEATURE_LEVEL, "whoever read the entry has refused this"
        if level < self.feature_level:
            return FeatureLevelTooLow(
                f"the feature level is {self.feature_level} and never goes down",
                details={"needed": level, "active": self.feature_level},
            ).to_reply()
        self.feature_level = level
        return FeatureLevel(level)

    def _take(self, step: Step) -> RawUpdate:
        self.version += 1
        type_: UpdateType
        if step.after is None:
            assert step.before is not None
            type_, encoded = "DELETE", codec.encode(step.before)
            self._digest.remove(encoded)
            self.store.remove(step.kind, step.key)
        else:
            encoded = codec.encode(step.after)
            type_ = "CREATE"
            if step.before is not None:
                type_ = "UPDATE"
                self._digest.remove(codec.encode(step.before))
            self._digest.add(encoded)
            self.store.put(step.kind, step.key, step.after)
        update = RawUpdate(self.version, type_, msgspec.Raw(encoded))
        kind: ResourceKind = step.kind  # type: ignore[assignment]  # rows take another way
        change = Change(
            kind, step.key, step.before, step.after, update, CHANGE_BYTES + 2 * len(encoded)
        )
        self.history.add(change)
        self.feeds.add(change)
        return update

    def _object_of(self, command: AnyCommand) -> Resource:
        kind = type(command).__name__.removeprefix("Update")
        names = ("tenant_id", "namespace", "stream", "cache")
        key = tuple(getattr(command, name) for name in names if hasattr(command, name))
        row: Resource = self.store.tables[kind].rows[key]
        return row

    # --- queries ------------------------------------------------------------------------------

    def answer(self, query: AnyQuery) -> Answer:
        """Answer any query but `GetSnapshot` and `GetCluster`, as of now.

        Raises: NotFound, ValidationFailed, Compacted, FutureVersion.
        """
        match query:
            case WatchUpdates():
                return self._updates(query)
            case GetFeedSnapshot():
                return self.feeds.snapshot(query.feed)
            case GetFeedChanges():
                return self.feeds.changes(query.feed, query.since, query.limit)
            case GetAudit():
                return self.audit.page(query)
            case TryManifests():
                return self._try_manifests(query)
            case _:
                return self._look_up(query)

    def _look_up(self, query: AnyQuery) -> Answer:
        if isinstance(query, PLACEMENT_QUERIES):
            return placement_queries.answer(self.store, self.placement, query)
        return queries.answer(self.store, query)

    def view(self) -> CatalogView:
        """Open a view of this version; the cost does not depend on the size of the catalog."""
        return CatalogView(self.store.view(), self.version, self.epoch, self.digest)

    def view_at(self, version: int) -> CatalogView:
        """Open a view of any version that the history covers; costs grow with the distance.

        Raises: Compacted, FutureVersion.
        """
        self._check_covered(version)
        view = self.store.view()
        digest = Digest(self._digest.value)
        for change in self.history.back_to(version):
            view.remember_older(change.kind, change.key, change.before)
            if change.after is not None:
                digest.remove(codec.encode(change.after))
            if change.before is not None:
                digest.add(codec.encode(change.before))
        return CatalogView(view, version, self.epoch, digest.hex())

    def _updates(self, query: WatchUpdates) -> UpdateBatch:
        if query.from_version < 0 or query.limit < 0 or query.wait_ms < 0:
            raise ValidationFailed("from_version, limit and wait_ms must not be negative")
        if query.epoch not in {0, self.epoch}:
            raise self._compacted(f"epoch {query.epoch} is over, this is epoch {self.epoch}")
        self._check_covered(query.from_version)
        limit = min(query.limit or BATCH_UPDATES_MAX, BATCH_UPDATES_MAX)
        updates: list[RawUpdate] = []
        size = 0
        for change in self.history.since(query.from_version, limit):
            size += len(memoryview(change.update.payload)) + 32
            if updates and size > BATCH_BYTES_MAX:
                break
            updates.append(change.update)
        last = query.from_version + len(updates)
        return UpdateBatch(
            cluster_id=self.cluster_id,
            epoch=self.epoch,
            first=query.from_version + 1,
            last=last,
            current=self.version,
            updates=updates,
            digest=self.digest if last == self.version else "",
        )

    def _check_covered(self, version: int) -> None:
        if version > self.version:
            raise FutureVersion(
                f"version {version} has not happened yet, the newest is {self.version}",
                details={"current": self.version, "epoch": self.epoch},
            )
        if version < self.history.oldest:
            raise self._compacted(f"version {version} is forgotten")

    def _compacted(self, message: str) -> Compacted:
        return Compacted(
            f"{message}: take a snapshot",
            details={
                "oldest": self.history.oldest,
                "current": self.version,
                "epoch": self.epoch,
            },
        )

    # --- restoring ----------------------------------------------------------------------------

    def take_up(
        self,
        *,
        version: int,
        applied_index: Index,
        log_time_ms: int,
        feature_level: int,
        digest: Digest,
        rows_digest: Digest,
        last_seq: dict[ResourceKind, int],
        renewal: Renewal,
    ) -> None:
        """Go on from what a dump held; its rows are in the store already."""
        self.version = version
        self.renewal = renewal
        self.applied_index = applied_index
        self.log_time_ms = log_time_ms
        self.feature_level = feature_level
        self._digest = digest
        self._rows_digest = rows_digest
        self._refresh.restore(self.store.tables[REFRESH_GRANTS].rows.values())
        self.placement.restore()
        self._begin()
        self.feeds.restore(last_seq)
        self.idempotency.restore()
        self.audit.restore()

    def renew(self, cluster_id: str, epoch: int, applied_index: Index, margin: int) -> None:
        """Become the metadata of a new cluster: same objects and keys, nothing else goes on.

        `margin` is more than the number of updates that may be missing here. Raises: TooOften.
        """
        assert epoch > self.epoch
        assert applied_index >= self.applied_index
        self.renewal = Renewal(self.version, margin)
        self.cluster_id, self.epoch = cluster_id, epoch
        self.version, self.applied_index = self.renewal.next_version, applied_index
        self._begin()
        self.feeds.restore(dict.fromkeys(PUBLIC, self.version))
        self.idempotency.restore()
