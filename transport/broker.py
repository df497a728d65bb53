"""What a broker process needs of the control plane, in one object.

`Broker` keeps a copy of the metadata (`felix.transport.client`), is registered for as long as it
runs, reports how it is and what it has in force, and says good-bye at the end.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec
import zmq

from felix.proto.brokers import BrokerCapacity, HealthAck
from felix.proto.errors import BrokerFenced
from felix.proto.placement_commands import AUTO, RegisterBroker
from felix.proto.resources import Broker as BrokerRow
from felix.proto.resources import ShardPlacement, Stream
from felix.proto.updates import MetadataUpdate
from felix.transport.broker_reporter import Reporter, Vitals
from felix.transport.client import BrokerClient, Node
from felix.transport.client_actor import Failed
from felix.transport.curve import ClientCurve
from felix.transport.rpc_client import RpcClient
from felix.transport.sync_records import SyncLimits, UpdateInfo
from felix.transport.view import MetadataView

POD_NAME: Final = "POD_NAME"
"""Environment: what a broker with an `auto` id is called; else it is the host's name."""
_VITALS: Final = Vitals()


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker says of itself when it registers."""

    address: str
    """`host:port` for clients and other brokers."""
    broker_id: str = AUTO
    region: str = ""
    availability_zone: str = ""
    capacity: BrokerCapacity = BrokerCapacity()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class Located(msgspec.Struct, frozen=True):
    """A stream, and where its shards are."""

    stream: Stream
    placement: ShardPlacement | None
    """None: not placed yet; whoever asks should try again shortly."""
    staleness_s: float
    """How long ago this was last proven to be the newest; infinite if it never was."""


class Broker:
    """One boot of one broker. Lookups may come from any thread and never wait for the network.

    It promises: while it is registered, its heartbeat comes as often as the control plane's leader
    asks; what it reports as applied is what every callback has returned from; when it is fenced
    `on_fenced` is called before it registers anew, and the broker must stop serving there. Where
    another boot has registered under its id since, `on_replaced` is called after that, once and
    with what to do, and it never registers again: the process should end, and not be started again
    before somebody has seen to it.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        nodes: Sequence[Node],
        *,
        vitals: Vitals = _VITALS,
        on_update: Callable[[MetadataUpdate, UpdateInfo], None] | None = None,
        on_snapshot: Callable[[MetadataView], None] | None = None,
        on_fenced: Callable[[], None] | None = None,
        on_replaced: Callable[[BrokerFenced], None] | None = None,
        cache: Path | None = None,
        limits: SyncLimits | None = None,
        failed: Failed | None = None,
        curve: ClientCurve | None = None,
    ) -> None:
        """Read the cache; nothing is sent before `start`. The rest is as `BrokerClient` has it.

        Raises: OSError (reading the cache), ValueError.
        """
        self.boot_id = uuid.uuid4().hex
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.client = BrokerClient(
            nodes,
            on_update=on_update,
            on_snapshot=on_snapshot,
            on_ack_wanted=self._ack_wanted,
            cache=cache,
            context=self._context,
            limits=limits,
            failed=failed,
            curve=curve,
        )
        self._nodes = _clients(nodes, self._context, curve)
        registration = _registration(settings, self.boot_id)
        self._reporter = Reporter(
            registration, self._nodes, self.client, vitals, on_fenced, on_replaced
        )
        self._is_started = False

    def start(self) -> None:
        """Begin to listen, to register and to report; returns at once."""
        self._is_started = True
        self.client.start()
        self._reporter.start()

    def close(self, *, deregister: bool = True) -> None:
        """Deregister, write the cache, release sockets and threads.

        Without `deregister` the control plane finds out by itself, as after a crash.
        """
        if not self._is_started:
            return
        self._is_started = False
        self._reporter.stop(deregister=deregister)
        self.client.close()
        for node in self._nodes:
            node.close()
        self._context.destroy(linger=0)

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- who it is ----------------------------------------------------------------------------

    @property
    def registered(self) -> BrokerRow | None:
        """The registration in force, with its epoch; None before the first and while fenced."""
        return self._reporter.registered

    @property
    def replaced(self) -> BrokerFenced | None:
        """What ended it for good: a later boot has the id; None as long as nothing has."""
        return self._reporter.replaced

    @property
    def last_ack(self) -> HealthAck | None:
        """What the control plane last said to a heartbeat."""
        return self._reporter.last_ack

    def wait_registered(self, timeout_s: float) -> bool:
        """Wait until it is registered; False when the time is over, or it was replaced."""
        return self._reporter.wait_registered(timeout_s)

    def report_within(self, delay_s: float) -> None:
        """Let the next heartbeat be no later than this: there is something new to say."""
        self._reporter.report_within(delay_s)

    def suspend_reports(self) -> None:
        """Fall silent, for drills: the control plane finds the broker down after its window."""
        self._reporter.suspend(suspended=True)

    def resume_reports(self) -> None:
        """Speak again."""
        self._reporter.suspend(suspended=False)

    # --- what it knows ------------------------------------------------------------------------

    def lookup(
        self,
        tenant_id: str,
        namespace: str,
        stream: str,
        *,
        at_version: int = 0,
        timeout_s: float = 0.0,
    ) -> Located:
        """Look a stream and its shards up, after waiting a little for a version if one is given.

        Raises: UnknownStream, with the `version` that was looked at; also for a deleted stream
        that could still be had back.
        """
        found = self.client.stream(
            tenant_id, namespace, stream, at_version=at_version, timeout_s=timeout_s
        )
        placement = self.client.get("ShardPlacement", found.key)
        assert placement is None or isinstance(placement, ShardPlacement)
        if placement is not None and placement.stream_id != found.stream_id:
            placement = None  # of a stream of that name that was there before
        return Located(found, placement, self.client.staleness_s)

    def _ack_wanted(self) -> None:
        self._reporter.acknowledge()


def _registration(settings: BrokerSettings, boot_id: str) -> RegisterBroker:
    metadata = dict(settings.metadata)
    if settings.broker_id == AUTO:
        metadata.setdefault("pod_name", os.environ.get(POD_NAME) or socket.gethostname())
    return RegisterBroker(
        broker_id=settings.broker_id,
        address=settings.address,
        boot_id=boot_id,
        region=settings.region,
        availability_zone=settings.availability_zone,
        capacity=settings.capacity,
        metadata=metadata,
    )


def _clients(
    nodes: Sequence[Node], context: zmq.Context[zmq.Socket[bytes]], curve: ClientCurve | None
) -> list[RpcClient]:
    """Make one for each node that is asked first, the others after it; none is opened unasked."""
    clients = []
    for first in range(len(nodes)):
        order = [(first + offset) % len(nodes) for offset in range(len(nodes))]
        mine = curve
        if curve is not None and len(curve.server_keys) > 1:
            mine = ClientCurve(curve.own, tuple(curve.server_keys[one] for one in order))
        clients.append(RpcClient([nodes[one][0] for one in order], context, curve=mine))
    return clients
