"""A simulated broker: it takes part in everything, and serves its shards on paper."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

import msgspec

from felix.cli.paper_shards import PaperShards
from felix.proto.brokers import HealthStatus, ShardStatus
from felix.proto.errors import BrokerFenced
from felix.proto.resources import ShardPlacement
from felix.proto.updates import MetadataUpdate
from felix.transport.broker import Broker, BrokerSettings
from felix.transport.broker_reporter import Vitals
from felix.transport.client import Node
from felix.transport.curve import ClientCurve
from felix.transport.sync_records import UpdateInfo
from felix.transport.view import MetadataView

SOON_S: Final = 0.05
"""What has changed is reported so soon: many changes come together."""
COMMANDS: Final = "deaf | hear | slow MILLISECONDS | status | crash | quit"


class SimOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a simulated broker behaves."""

    copy_s: float = 0.5
    """After this long a replica has everything that its leader has."""
    apply_delay_s: float = 0.0
    """What each update costs."""
    cache: Path | None = None


class SimBroker:
    """One simulated broker in this process."""

    def __init__(
        self,
        settings: BrokerSettings,
        nodes: Sequence[Node],
        options: SimOptions,
        *,
        curve: ClientCurve | None = None,
        out: TextIO | None = None,
        on_replaced: Callable[[BrokerFenced], None] | None = None,
    ) -> None:
        """It prints a line for every update to `out`. Raises: OSError, ValueError."""
        self.shards = PaperShards(options.copy_s)
        self._name = settings.broker_id
        self._out = out
        self._apply_delay_s = options.apply_delay_s
        self._started_at = time.monotonic()
        self._ended = threading.Event()
        self.broker = Broker(
            settings,
            nodes,
            vitals=Vitals(shards=self._statuses, health=self._health),
            on_update=self._hear,
            on_snapshot=self._begin,
            on_fenced=lambda: self._say("fenced: another boot has this name, or it was removed"),
            on_replaced=on_replaced,
            cache=options.cache,
            curve=curve,
        )
        self.shards.begin(self._name, self.broker.client.view)  # what the cache had

    def start(self) -> None:
        """Begin; returns at once."""
        self.broker.start()

    def stop(self) -> None:
        """Say good-bye and end."""
        self._ended.set()
        self.broker.close()

    def crash(self) -> None:
        """End without a word."""
        self._ended.set()
        self.broker.close(deregister=False)

    def __enter__(self) -> SimBroker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def name(self) -> str:
        """The id that it registered by; before that, the one that it asked for."""
        mine = self.broker.registered
        return self._name if mine is None else mine.broker_id

    def deaf(self) -> None:
        """Send no more heartbeats."""
        self.broker.suspend_reports()

    def hear(self) -> None:
        """Send heartbeats again."""
        self.broker.resume_reports()

    def slow(self, delay_s: float) -> None:
        """Take this long over every update."""
        self._apply_delay_s = delay_s

    def status(self) -> str:
        """Say in one line where it stands."""
        mine, ack, client = self.broker.registered, self.broker.last_ack, self.broker.client
        epoch = f"epoch {mine.broker_epoch}" if mine is not None else "not registered"
        seen = ack.status if ack is not None else "never acknowledged"
        return (
            f"{epoch}, {seen}, applied v{client.applied.version} of v{client.version}, "
            f"{client.staleness_s:.1f} s stale, {self.shards.copies()} copies, "
            f"leads {self.shards.leads()}"
        )

    # --- what the broker client calls ---------------------------------------------------------

    def _statuses(self) -> Sequence[ShardStatus]:
        if self.shards.broker_id != self.name:  # it has asked for another than it got
            self.shards.begin(self.name, self.broker.client.view)
        work = self.shards.work(time.monotonic())
        self.broker.report_within(work.next_s)
        return work.statuses

    def _health(self) -> HealthStatus:
        return HealthStatus(uptime_seconds=int(time.monotonic() - self._started_at))

    def _begin(self, view: MetadataView) -> None:
        self.shards.begin(self.name, view)
        self.broker.report_within(0)

    def _hear(self, update: MetadataUpdate, info: UpdateInfo) -> None:
        if self._apply_delay_s:
            self._ended.wait(self._apply_delay_s)
        if self.shards.update(update):
            self.broker.report_within(SOON_S)
        self._say(describe(update, info, time.time_ns() / 1e6))

    def _say(self, text: str) -> None:
        if self._out is not None:
            self._out.write(f"{self.name} {text}\n")
            self._out.flush()


def describe(update: MetadataUpdate, info: UpdateInfo, now_ms: float) -> str:
    """Say in one line what has changed, and for shards who leads them."""
    payload = update.payload
    what = f"v{update.version} {update.type} {type(payload).__name__} {'/'.join(payload.key)}"
    if info.time_us:
        what += f" {now_ms - info.time_us / 1e3:.1f} ms after the commit"
    if isinstance(payload, ShardPlacement) and update.type != "DELETE":
        led = (f"{one.shard_id}: {one.leader or 'nobody'}" for one in payload.placements)
        what += f" (leaders {', '.join(led)})"
    return what


def obey(broker: SimBroker, line: str, say: Callable[[str], None]) -> str:
    """Carry out a command of stdin; `crash` and `quit` are given back for the caller to do."""
    match line.split():
        case ["deaf"]:
            broker.deaf()
        case ["hear"]:
            broker.hear()
        case ["slow", delay] if delay.isdecimal():
            broker.slow(int(delay) / 1000)
        case ["status"]:
            say(broker.status())
        case [("crash" | "quit") as end]:
            return end
        case []:
            pass
        case _:
            say(f"not a command: {COMMANDS}")
    return ""
