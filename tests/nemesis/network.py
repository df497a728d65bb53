"""What lies between the nodes and can be cut or slowed, each direction for itself.

`ProxyNetwork` needs nothing of the machine, `Namespaces` (in `namespaces.py`) needs root.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from felix.cli.config import LISTENERS, Config
from tests.nemesis.proxy import Proxy, Route
from tests.support.cluster import HOST, free_ports

Way: TypeAlias = tuple[str, str]
"""From one node to another, by name."""
NetworkKind: TypeAlias = Literal["proxy", "namespaces"]
PROXIED = ("peers", "rpc")
"""What nodes say to each other goes to these listeners."""
SLOW_S = 0.15


class Backend(Protocol):
    """Carries out what `Network` has decided."""

    def place(self, configs: Sequence[Config]) -> list[Config]:
        """Give the nodes the addresses that lead through this network, before they start."""
        ...

    def command(self, name: str) -> list[str]:
        """Give the command that runs another in a node's place."""
        ...

    def know(self, name: str, pid: int) -> None:
        """Take note which process is a node."""
        ...

    def set_cut(self, way: Way, *, is_cut: bool) -> None:
        """Let nothing through, or everything again."""
        ...

    def set_slow(self, name: str, *, is_slow: bool) -> None:
        """Make everything that a node says late, or in time again."""
        ...

    def close(self) -> None:
        """Take it down."""
        ...


class Network:
    """Counts who wants which way cut: two faults may want the same."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._cuts: Counter[Way] = Counter()
        self._slow: Counter[str] = Counter()

    def cut(self, ways: Iterable[Way]) -> None:
        """Let nothing more through."""
        for way in ways:
            self._cuts[way] += 1
            self.backend.set_cut(way, is_cut=True)

    def mend(self, ways: Iterable[Way]) -> None:
        """Take a `cut` back."""
        for way in ways:
            self._cuts[way] -= 1
            if not self._cuts[way]:
                self.backend.set_cut(way, is_cut=False)

    def slow(self, name: str) -> None:
        """Make everything that a node says late."""
        self._slow[name] += 1
        self.backend.set_slow(name, is_slow=True)

    def hasten(self, name: str) -> None:
        """Take a `slow` back."""
        self._slow[name] -= 1
        if not self._slow[name]:
            self.backend.set_slow(name, is_slow=False)


class ProxyNetwork:
    """A TCP proxy in front of every node: what is cut is held back, and comes late or never."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()
        self._proxy = Proxy(self._name_of)

    def place(self, configs: Sequence[Config]) -> list[Config]:
        """Put the proxy's addresses into what the nodes know of each other."""
        taken = {getattr(one.listen, listener) for one in configs for listener in LISTENERS}
        ports: list[int] = []
        while not ports or any(f"{HOST}:{port}" in taken for port in ports):
            ports = free_ports(len(configs) * len(PROXIED))
        routes = []
        members = []
        for member in configs[0].cluster.members:
            fronts = {listener: f"{HOST}:{ports.pop()}" for listener in PROXIED}
            for listener, front in fronts.items():
                routes.append(Route(member.name, front, getattr(member, listener)))
            members.append(msgspec.structs.replace(member, **fronts))
        self._proxy.open(routes)
        return [
            msgspec.structs.replace(
                config, cluster=msgspec.structs.replace(config.cluster, members=tuple(members))
            )
            for config in configs
        ]

    def command(self, name: str) -> list[str]:
        """Run it as it is."""
        return []

    def know(self, name: str, pid: int) -> None:
        """Take note which process is a node."""
        with self._lock:
            self._names[pid] = name

    def set_cut(self, way: Way, *, is_cut: bool) -> None:
        """Hold everything back, or let it go on."""
        self._proxy.set_cut(way, is_cut=is_cut)

    def set_slow(self, name: str, *, is_slow: bool) -> None:
        """Deliver what a node says so much later."""
        self._proxy.set_delay(name, SLOW_S if is_slow else 0.0)

    def close(self) -> None:
        """Close every connection."""
        self._proxy.close()

    def _name_of(self) -> dict[int, str]:
        with self._lock:
            return dict(self._names)


def at_host(config: Config, hosts: dict[str, str]) -> Config:
    """Move a node and all it knows of to other hosts, ports as they are."""

    def moved(address: str, name: str) -> str:
        return f"{hosts[name]}:{address.rpartition(':')[2]}"

    return msgspec.structs.replace(
        config,
        listen=msgspec.structs.replace(
            config.listen,
            **{one: moved(getattr(config.listen, one), config.name) for one in LISTENERS},
        ),
        cluster=msgspec.structs.replace(
            config.cluster,
            members=tuple(
                msgspec.structs.replace(
                    member, **{one: moved(getattr(member, one), member.name) for one in LISTENERS}
                )
                for member in config.cluster.members
            ),
        ),
    )
