"""Brokers whose time is a number: what their leader hears, and what it makes of it."""

from __future__ import annotations

import msgspec

from felix.core.brokers.heartbeats import BeatTimes, BrokerSeen, Heartbeats
from felix.proto.brokers import BrokerStatus, HealthStatus
from felix.proto.reports import ReportApplied, ReportHealth
from felix.proto.resources import Broker

TIMES = BeatTimes(interval_s=5.0, missed=3)
TICK_S = 0.5


class Fleet:
    """A leader and its brokers; what it proposes is applied only when a test says so."""

    def __init__(self, *names: str, now: float = 1000.0, term: int = 1) -> None:
        self.now = now
        self.brokers = {name: broker(name) for name in names}
        self.copies = dict.fromkeys(names, 0)
        self.silent: set[str] = set()
        self.unwell: set[str] = set()
        self.take_over(term)

    def take_over(self, term: int) -> None:
        """Let another node lead, which knows the catalog and nothing else."""
        self.beats = Heartbeats(TIMES, self.now, term)
        self.follow()

    def follow(self) -> list[str]:
        return self.beats.follow([self.seen(name) for name in self.brokers], self.now)

    def seen(self, name: str) -> BrokerSeen:
        return BrokerSeen(self.brokers[name], self.copies[name], 0)

    def set(self, name: str, **members: object) -> None:
        """Change a broker in the catalog."""
        now = self.brokers[name]
        self.brokers[name] = msgspec.structs.replace(now, version=now.version + 1, **members)
        self.follow()

    def report(self, name: str) -> None:
        status = HealthStatus(healthy=name not in self.unwell)
        epoch = self.brokers[name].broker_epoch
        said = ReportHealth(broker_id=name, broker_epoch=epoch, status=status)
        self.beats.hear(said, self.seen(name), self.now)

    def acknowledge(self, name: str) -> None:
        said = ReportApplied(broker_id=name, broker_epoch=self.brokers[name].broker_epoch)
        self.beats.hear(said, self.seen(name), self.now)

    def live(self, seconds: float) -> list[tuple[float, str, BrokerStatus]]:
        """Let time pass, with a report of whoever is not silent in every interval."""
        begin = self.now
        found: list[tuple[float, str, BrokerStatus]] = []
        while self.now < begin + seconds:
            self.now += TICK_S
            if self.now % TIMES.interval_s == 0:
                for name in self.brokers:
                    if name not in self.silent:
                        self.report(name)
            self.beats.tick(self.now)
            wanted = self.beats.wanted(self.now)
            found += [(self.now - begin, one.broker_id, one.to_status) for one in wanted]
        return found

    def wanted(self) -> list[tuple[str, BrokerStatus]]:
        self.beats.tick(self.now)
        return [(one.broker_id, one.to_status) for one in self.beats.wanted(self.now)]


def broker(name: str, epoch: int = 1) -> Broker:
    return Broker(
        broker_id=name,
        address=f"{name}:1",
        boot_id=f"boot-{epoch}",
        broker_epoch=epoch,
        version=epoch,
    )
