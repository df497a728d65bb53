"""The broker's side of metadata synchronisation: a copy of the metadata that is kept in step.

A broker starts one `BrokerClient`, looks things up in it, and is called back for every change. The
algorithm is in `felix.transport.sync`; here are its sockets, its clock, its cache and its readers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import pykka
import structlog
import zmq

from felix.proto.errors import NotFound
from felix.proto.resources import (
    ClusterSetting,
    FeatureFlag,
    Key,
    Namespace,
    Quotas,
    Resource,
    ResourceKind,
    Stream,
    Tenant,
)
from felix.proto.updates import MetadataUpdate
from felix.transport.client_actor import Applied, BrokerActor, Failed, Progress
from felix.transport.client_cache import CacheDamaged, ClientCache
from felix.transport.curve import ClientCurve
from felix.transport.sync import BrokerSync
from felix.transport.sync_records import SyncLimits, SyncStatistics, UpdateInfo
from felix.transport.view import MetadataView

Node: TypeAlias = tuple[str, str]
"""ZeroMQ endpoints of one node: RPC and watch."""


S = TypeVar("S", bool, int, str)


class UnknownStream(NotFound):
    """No such stream in the metadata this broker has; the caller should try again shortly.

    `details` has the `version` that was looked at.
    """


class BrokerClient:
    """A copy of the cluster's metadata. Lookups may come from any thread and never wait.

    It promises: `on_update` hears of every version exactly once and in order, unless `on_snapshot`
    says that a whole new view has replaced what was known; `(epoch, version)` never goes back;
    `staleness_s` says how long ago what it has was last proven to be all there is.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        on_update: Callable[[MetadataUpdate, UpdateInfo], None] | None = None,
        on_snapshot: Callable[[MetadataView], None] | None = None,
        on_ack_wanted: Callable[[], None] | None = None,
        cache: Path | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        limits: SyncLimits | None = None,
        failed: Failed | None = None,
        curve: ClientCurve | None = None,
    ) -> None:
        """Read the cache; a damaged one is ignored with a warning.

        Nodes that do CURVE are met with `curve`: this broker's key pair (`read_key_pair`), whose
        public key they know, and their own public keys, one for each of `nodes`, in that order.
        A broker whose key is not known yet, or not any more, goes on trying.

        `on_ack_wanted` is called when somebody waits for brokers to have what `applied` now says.

        Callbacks run in the client's own thread, which waits for them; one that raises stops the
        client, which tells `failed` (default: a log line). Raises: OSError (reading the cache),
        ValueError.
        """
        if not nodes:
            raise ValueError("a broker client needs at least one node")
        if curve is not None:
            curve.check(len(nodes))
        self._curve = curve
        self._log = structlog.get_logger(__name__)
        self._own_context = context is None
        self._context = context
        self._nodes = tuple(nodes)
        self._cache = None if cache is None else ClientCache(cache)
        self._on_update = on_update
        self._on_snapshot = on_snapshot
        self._on_ack_wanted = on_ack_wanted
        self._failed = failed
        known = self._read_cache()
        self._sync = BrokerSync(
            len(self._nodes),
            Random(),  # noqa: S311 - spreads load, guards nothing
            known,
            limits or SyncLimits(),
        )
        self._progress = Progress(self._sync.view)
        self._ref: pykka.ActorRef[Any] | None = None

    def start(self) -> None:
        """Begin to listen; returns at once."""
        assert self._ref is None, "a broker client is started once"
        if self._context is None:
            self._context = zmq.Context()
        self._ref = BrokerActor.start(
            context=self._context,
            nodes=self._nodes,
            sync=self._sync,
            progress=self._progress,
            cache=self._cache,
            on_update=self._on_update,
            on_snapshot=self._on_snapshot,
            on_ack_wanted=self._on_ack_wanted,
            failed=self._failed,
            curve=self._curve,
        )

    def close(self) -> None:
        """Write the cache, release sockets and thread."""
        if self._ref is None:
            return
        self._ref.stop()
        if self._own_context and self._context is not None:
            self._context.destroy(linger=0)

    def __enter__(self) -> BrokerClient:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def view(self) -> MetadataView:
        """What is known now; another object after every `on_snapshot`."""
        return self._progress.view

    @property
    def version(self) -> int:
        """The version of what is known; 0 before anything is."""
        return self._progress.view.version

    @property
    def epoch(self) -> int:
        """The epoch that `version` belongs to."""
        return self._progress.view.epoch

    @property
    def applied(self) -> Applied:
        """The newest version for which all callbacks have returned, with its digest."""
        return self._progress.applied

    @property
    def staleness_s(self) -> float:
        """How long ago what is known was last proven current; infinite if it never was."""
        return self.statistics().staleness_s

    def statistics(self) -> SyncStatistics:
        """Count what has happened so far."""
        return self._sync.statistics(time.monotonic())

    def get(self, kind: ResourceKind, key: Key) -> Resource | None:
        """Look an object up by its names, outermost first."""
        return self._progress.view.get(kind, key)

    def stream(
        self,
        tenant_id: str,
        namespace: str,
        stream: str,
        *,
        at_version: int = 0,
        timeout_s: float = 0.0,
    ) -> Stream:
        """Look a stream up, after waiting a little for a version if one is given.

        Raises: UnknownStream.
        """
        self.wait_version(at_version, timeout_s)
        view = self._progress.view
        version = view.version  # read before the object: what is said of it holds at least there
        found = view.get("Stream", (tenant_id, namespace, stream))
        if isinstance(found, Stream):
            return found
        raise UnknownStream(
            f"Unknown stream {tenant_id}/{namespace}/{stream} at version {version}",
            retry_after_ms=100,
            details={"version": version, "epoch": view.epoch},
        )

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Tell whether a feature is on; one that nobody has switched is as `default` says."""
        found = self._progress.view.get("FeatureFlag", (name,))
        return found.enabled if isinstance(found, FeatureFlag) else default

    def setting(self, name: str, default: S) -> S:
        """Give a setting of the cluster (durations in milliseconds), or what it is by default.

        One that was set to another type than this broker expects is not set for it.
        """
        found = self._progress.view.get("ClusterSetting", (name,))
        if isinstance(found, ClusterSetting) and type(found.value) is type(default):
            return found.value
        return default

    def quotas(self, tenant_id: str, namespace: str) -> tuple[Quotas, Quotas]:
        """Give the limits of a tenant and of a namespace in it: both hold.

        What is not known here, or has no quotas, has no limit.
        """
        view = self._progress.view
        whole, part = (
            view.get("Tenant", (tenant_id,)),
            view.get("Namespace", (tenant_id, namespace)),
        )
        of_tenant = whole.quotas if isinstance(whole, Tenant) else None
        of_namespace = part.quotas if isinstance(part, Namespace) else None
        return of_tenant or Quotas(), of_namespace or Quotas()

    def wait_version(self, version: int, timeout_s: float) -> bool:
        """Wait until at least this version is known; False when the time is over."""
        progress = self._progress
        if progress.view.version >= version:
            return True
        with progress.changed:
            return progress.changed.wait_for(lambda: progress.view.version >= version, timeout_s)

    def wait_current(self, timeout_s: float) -> bool:
        """Wait until what is known has once been proven current; False when the time is over."""
        with self._progress.changed:
            return self._progress.changed.wait_for(
                lambda: self._sync.current_at is not None, timeout_s
            )

    def _read_cache(self) -> MetadataView | None:
        if self._cache is None:
            return None
        try:
            return self._cache.load()
        except CacheDamaged as error:
            self._log.warning("broker_cache_ignored", reason=str(error))
            return None
