"""A process that is several brokers: simulated ones, each with a whole cache of its own."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Final, Literal, TypeAlias

import msgspec

from bench.loads import clock
from felix.cli import logs
from felix.cli.config import LogConfig
from felix.cli.sim_broker import SimBroker, SimOptions
from felix.transport.broker import BrokerSettings
from felix.transport.client import Node

ZONES: Final = 5
_POLL_S: Final = 0.02

Word: TypeAlias = Literal["go", "where"]
"""What a host is told; it ends by being killed."""


class Party(msgspec.Struct, frozen=True):
    """The brokers of one process, all in one zone."""

    names: tuple[str, ...]
    zone: str
    nodes: tuple[Node, ...]
    copy_s: float


class Standing(msgspec.Struct, frozen=True):
    """Where one broker stands."""

    name: str
    is_registered: bool
    epoch: int
    version: int
    """What it has in force; the digest belongs to it."""
    digest: str
    mismatches: int
    """How often what it had was not what a node said it should be."""
    resyncs: int
    settled_at: float
    """When it first was registered and had proof that its cache is current, by `clock`; 0: not
    yet."""


def parties(brokers: int, hosts: int, nodes: Sequence[Node], copy_s: float) -> list[Party]:
    """Deal brokers out to processes, so that all of a process are in one zone."""
    names: list[list[str]] = [[] for _ in range(hosts)]
    for number in range(brokers):
        names[number % hosts].append(f"broker-{number:03d}")
    return [
        Party(tuple(some), f"zone-{number % ZONES}", tuple(nodes), copy_s)
        for number, some in enumerate(names)
    ]


def host(link: Connection, party: Party) -> None:
    """Task: say "ready"; at "go" start all brokers, at "where" send their `Standing`."""
    logs.set_up(LogConfig(level="error"))
    brokers = [_broker(name, party) for name in party.names]
    link.send("ready")
    assert link.recv() == "go"
    gc.enable()  # these live long, as brokers do
    for one in brokers:
        one.start()
    settled_at = dict.fromkeys(party.names, 0.0)
    while True:
        for one, name in zip(brokers, party.names, strict=True):
            if not settled_at[name] and _is_settled(one):
                settled_at[name] = clock()
        if not link.poll(_POLL_S):
            continue
        word: Word = link.recv()
        assert word == "where"
        link.send(
            [
                _standing(one, name, settled_at[name])
                for one, name in zip(brokers, party.names, strict=True)
            ]
        )


def _broker(name: str, party: Party) -> SimBroker:
    settings = BrokerSettings(broker_id=name, address=f"{name}:5000", availability_zone=party.zone)
    return SimBroker(settings, party.nodes, SimOptions(copy_s=party.copy_s))


def _is_settled(one: SimBroker) -> bool:
    is_current = one.broker.client.wait_current(0)
    return is_current and one.broker.registered is not None


def _standing(one: SimBroker, name: str, settled_at: float) -> Standing:
    client = one.broker.client
    applied, numbers = client.applied, client.statistics()
    return Standing(
        name=name,
        is_registered=one.broker.registered is not None,
        epoch=applied.epoch,
        version=applied.version,
        digest=applied.digest,
        mismatches=numbers.digest_mismatches,
        resyncs=numbers.resyncs,
        settled_at=settled_at,
    )
