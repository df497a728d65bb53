"""Each node in a network namespace of its own, all on one bridge, on a machine of our own making.

Nodes refuse to listen on an address that other machines could reach, for nothing is authenticated.
So the wires between the namespaces carry loopback addresses: 127.77.0.1, 127.77.0.2, and so on.
`route_localnet` makes the kernel route them, inside these namespaces and nowhere else.

The test process, too, lives in namespaces (network, mounts, processes): `enter` starts it anew.
Whatever happens to it, the kernel takes everything down with it.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from felix.cli.config import Config
from tests.nemesis.network import Way, at_host

INSIDE: Final = "NEMESIS_INSIDE"
"""Environment variable: set in a process that `enter` has started."""
UNSHARE: Final = (
    *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
)
ROOM: Final = Path("/run/netns")
NET: Final = "127.77.0"
SLOW: Final = ("tbf", "rate", "200kbit", "burst", "4k", "latency", "300ms")
"""A narrow wire: the delay of a busy node is up to 0.3 s, and then it loses packets."""
TRIAL: Final = (
    "ip link set lo up && ip link add name hub type bridge"
    " && ip link add name x type veth peer name y"
    " && mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add n"
    f" && tc qdisc add dev x root {' '.join(SLOW)}"
)


def is_inside() -> bool:
    """Whether this process lives in namespaces of its own."""
    return os.environ.get(INSIDE) == "1"


@functools.cache
def are_possible() -> bool:
    """Whether this machine lets us make them."""
    if is_inside():
        return True
    if os.geteuid():
        return False
    try:
        tried = subprocess.run(
            [*UNSHARE, "sh", "-c", TRIAL], capture_output=True, check=False, timeout=30
        )
    except OSError:
        return False
    return tried.returncode == 0


def enter(arguments: Sequence[str]) -> int:
    """Run `python -m tests.nemesis` with these arguments inside, and give its exit code."""
    command = [*UNSHARE, sys.executable, "-m", "tests.nemesis", *arguments]
    return subprocess.run(command, env=os.environ | {INSIDE: "1"}, check=False).returncode


class Namespaces:
    """The wires between the nodes."""

    def __init__(self) -> None:
        assert is_inside()
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")  # what `ip netns` notes there is ours alone
        ROOM.mkdir()
        _run("ip", "link", "add", "name", "hub", "type", "bridge")
        _settle("hub", f"{NET}.254")
        self._numbers: dict[str, int] = {}

    def place(self, configs: Sequence[Config]) -> list[Config]:
        """Make a namespace and an address for each node."""
        for number, config in enumerate(configs, 1):
            name = config.name
            self._numbers[name] = number
            wire = f"wire{number}"
            _run("ip", "netns", "add", name)
            _run(
                "ip",
                "link",
                "add",
                "name",
                wire,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                name,
            )
            _run("ip", "link", "set", wire, "master", "hub", "up")
            _settle("eth0", f"{NET}.{number}", self.command(name))
        hosts = {name: f"{NET}.{number}" for name, number in self._numbers.items()}
        return [at_host(config, hosts) for config in configs]

    def command(self, name: str) -> list[str]:
        """Run something in a node's namespace; the process stays the same."""
        return ["nsenter", f"--net={ROOM / name}", "--"]

    def know(self, name: str, pid: int) -> None:
        """Nothing to note: the namespace says who it is."""

    def set_cut(self, way: Way, *, is_cut: bool) -> None:
        """Lose every packet on its way; TCP goes on trying."""
        source, target = way
        verb = "replace" if is_cut else "del"
        address = f"{NET}.{self._numbers[target]}/32"
        _run(*self.command(source), "ip", "route", verb, "blackhole", address)

    def set_slow(self, name: str, *, is_slow: bool) -> None:
        """Make the wire of a node narrow in its outgoing direction."""
        queue = (
            ("replace", "dev", "eth0", "root", *SLOW) if is_slow else ("del", "dev", "eth0", "root")
        )
        _run(*self.command(name), "tc", "qdisc", *queue)

    def close(self) -> None:
        """Nothing to do: it goes with the process."""


def _settle(device: str, address: str, inside: Sequence[str] = ()) -> None:
    """Give a device an address of the loopback net, and take that net from `lo`."""
    _run(*inside, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    _run(*inside, "ip", "link", "set", "lo", "up")
    _run(*inside, "ip", "address", "del", "127.0.0.1/8", "dev", "lo")
    _run(*inside, "ip", "address", "add", "127.0.0.1/32", "dev", "lo")
    _run(*inside, "ip", "address", "add", f"{address}/24", "dev", device)
    _run(*inside, "ip", "link", "set", device, "up")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
