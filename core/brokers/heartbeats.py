"""Which brokers are alive, as far as their reports tell.

Soft state of the node that leads. Its clock is monotonic seconds, given in; the wall clock, which
may jump, has no part in this. What it finds it proposes, and proposes again until the catalog says
so: a proposal that was lost costs a moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from felix.proto.brokers import BrokerMetrics, BrokerStatus, HealthStatus
from felix.proto.placement_commands import ChangeBrokerStatus
from felix.proto.reports import Report, ReportHealth
from felix.proto.resources import Broker

FLAP_WINDOW_S: Final = 600.0
FLAPS_FREE: Final = 3
"""A broker that goes down more often than this within the window has to prove itself for longer."""
STEADY_S_MAX: Final = 300.0
"""No broker has to report for longer than this before it is back."""
DOWNS_KEPT: Final = 32
"""More than it takes to reach `STEADY_S_MAX`."""


class BeatTimes(msgspec.Struct, frozen=True, kw_only=True):
    """When silence means death; see the section `brokers` of the configuration."""

    interval_s: float = 5.0
    missed: int = 3

    @property
    def window_s(self) -> float:
        """How long a broker may be silent."""
        return self.interval_s * self.missed


class BrokerSeen(msgspec.Struct, frozen=True, gc=False):
    """A broker in the catalog, with what it holds there."""

    broker: Broker
    copies: int
    leads: int


class Beat(msgspec.Struct, gc=False):
    """What was heard of one broker. Its numbers are seconds of the monotonic clock."""

    seen: BrokerSeen
    at: float | None = None
    """The last report; None: none since this node leads."""
    steady_since: float | None = None
    """The first of the good reports that came without a break."""
    downs: tuple[float, ...] = ()
    """When it was found down, lately."""
    health: HealthStatus = HealthStatus()
    metrics: BrokerMetrics = BrokerMetrics()


class Heartbeats:
    """The reports' times, and what follows from them; used by one thread."""

    def __init__(self, times: BeatTimes, now: float, term: int) -> None:
        """Begin to listen, as leader of a term: a whole window passes before anybody is judged."""
        self._times = times
        self._term = term
        self._beats: dict[str, Beat] = {}
        self._gone: dict[str, int] = {}
        self._last_tick = self._silence_counts_from = now
        self._knows_brokers = False

    def follow(self, brokers: Iterable[BrokerSeen], now: float) -> list[str]:
        """Take over the catalog's brokers; list those of whom nothing said before counts any more.

        They are gone, down, or another boot.
        """
        before, self._beats = self._beats, {}
        forgotten = []
        for seen in brokers:
            broker_id = seen.broker.broker_id
            beat = before.pop(broker_id, None)
            if beat is None:
                # One that comes while this node leads has just registered: that is a sign of life.
                beat = Beat(seen, at=now if self._knows_brokers else None)
            elif self._update(beat, seen, now):
                forgotten.append(broker_id)
            self._beats[broker_id] = beat
        for broker_id in before:
            self._gone.pop(broker_id, None)
        self._knows_brokers = True
        return forgotten + list(before)

    def _update(self, beat: Beat, seen: BrokerSeen, now: float) -> bool:
        """Note what is new of a broker; say whether what it said counts no more."""
        old, new = beat.seen.broker, seen.broker
        beat.seen = seen
        if new.broker_epoch != old.broker_epoch:
            beat.at = now
            beat.steady_since = None
            beat.health, beat.metrics = HealthStatus(), BrokerMetrics()
            self._gone.pop(new.broker_id, None)
            return True
        if new.status == "down" and old.status != "down":
            beat.steady_since = None
            if new.boot_id:  # else it has stopped as it should
                beat.downs = (*self._recent(beat, now), now)[-DOWNS_KEPT:]
            return True
        return False

    def hear(self, report: Report, seen: BrokerSeen, now: float) -> bool:
        """Take in a report; the catalog has its broker as `seen`, of this very boot.

        Says whether nothing that it said before counts any more: see `follow`.
        """
        broker_id = report.broker_id
        beat = self._beats.get(broker_id)
        if beat is None:
            beat = self._beats[broker_id] = Beat(seen)
        begins_anew = self._update(beat, seen, now)
        is_broken = beat.at is None or now - beat.at > self._times.window_s
        beat.at = now
        self._gone.pop(broker_id, None)
        if isinstance(report, ReportHealth):
            self._take_health(beat, report, now, is_broken=is_broken)
        return begins_anew

    def _take_health(
        self, beat: Beat, report: ReportHealth, now: float, *, is_broken: bool
    ) -> None:
        beat.health, beat.metrics = report.status, report.metrics
        if not report.status.healthy:
            beat.steady_since = None
        elif beat.steady_since is None or is_broken:
            beat.steady_since = now

    def tick(self, now: float) -> None:
        """Let time pass; to be called several times in every interval.

        After a pause nobody can say who was silent: what brokers said meanwhile may still be on
        its way here. So silence counts anew, as it does for a new leader.
        """
        if now - self._last_tick > self._times.interval_s:
            self._silence_counts_from = now
        self._last_tick = now
        self._gone = {
            broker_id: beat.seen.broker.broker_epoch
            for broker_id, beat in self._beats.items()
            if self._is_silent(beat, now)
        }

    def _is_silent(self, beat: Beat, now: float) -> bool:
        since = self._silence_counts_from
        if beat.at is not None:
            since = max(since, beat.at)
        return now - since >= self._times.window_s

    # --- what follows -------------------------------------------------------------------------

    def gone_epoch(self, broker_id: str) -> int:
        """Give the epoch of a broker that has been silent for a whole window; 0: it has not.

        Any thread may ask.
        """
        return self._gone.get(broker_id, 0)

    def wanted(self, now: float) -> list[ChangeBrokerStatus]:
        """List the changes that the catalog has not seen yet, those of the dead first.

        Whoever is silent has been found so by `tick`.
        """
        found = [self._change(beat, now) for beat in self._beats.values()]
        changes = [one for one in found if one is not None]
        return sorted(changes, key=lambda one: one.to_status != "down")

    def _change(self, beat: Beat, now: float) -> ChangeBrokerStatus | None:
        broker = beat.seen.broker
        to_status: BrokerStatus
        if broker.status == "down":
            if not broker.boot_id or not self._is_back(beat, now):
                return None
            to_status, reason = "active", ""
        elif broker.broker_id in self._gone:
            silent_s = self._times.window_s
            to_status, reason = "down", f"it has not reported for {silent_s:g} seconds"
        elif broker.status == "draining" and broker.drain and not beat.seen.copies:
            to_status, reason = "drained", "it holds no shards any more"
        else:
            return None
        return ChangeBrokerStatus(
            broker_id=broker.broker_id,
            broker_epoch=broker.broker_epoch,
            from_status=broker.status,
            to_status=to_status,
            reason=reason,
            decided_in_term=self._term,
        )

    def _is_back(self, beat: Beat, now: float) -> bool:
        if beat.steady_since is None or self._is_silent(beat, now):
            return False
        return now - beat.steady_since >= self.steady_s(beat.seen.broker.broker_id, now)

    def steady_s(self, broker_id: str, now: float) -> float:
        """Say for how long a broker that is down has to report before it is back."""
        flaps = self.changes_lately(broker_id, now) - FLAPS_FREE
        return 0.0 if flaps <= 0 else min(STEADY_S_MAX, self._times.interval_s * 2.0**flaps)

    def changes_lately(self, broker_id: str, now: float) -> int:
        """Count how often a broker went down within the window in which flapping is noticed."""
        beat = self._beats.get(broker_id)
        return 0 if beat is None else len(self._recent(beat, now))

    def _recent(self, beat: Beat, now: float) -> tuple[float, ...]:
        return tuple(at for at in beat.downs if at > now - FLAP_WINDOW_S)

    # --- what is known ------------------------------------------------------------------------

    def judges_in_s(self, now: float) -> float:
        """Say how long it takes until anybody can be found silent; 0: it is so far."""
        return max(0.0, self._silence_counts_from + self._times.window_s - now)

    def beat(self, broker_id: str) -> Beat | None:
        """Give what was heard of a broker; not to be changed."""
        return self._beats.get(broker_id)

    def beats(self) -> list[Beat]:
        """List what was heard of all brokers, in the catalog's order; not to be changed."""
        return list(self._beats.values())

    def up(self) -> list[str]:
        """List the brokers that are not down."""
        return [name for name, one in self._beats.items() if one.seen.broker.status != "down"]
