"""CURVE keys for a cluster of tests: who has one, and the allow-list that all its nodes read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from felix.cli.config import Config, CurveConfig
from felix.transport.curve import ClientCurve, KeyPair, Role, new_key_pair, render_key_pair


class ConfiguredNode(Protocol):
    """What a node of a test must have to be given keys."""

    name: str
    config: Config
    curve: ClientCurve | None

    def write_config(self) -> None:
        """Write the configuration down."""


class KeyRing:
    """Key pairs by name, and the list of those that are let in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.allow_list = folder / "allow-list"
        self._pairs: dict[str, KeyPair] = {}
        self._lines: dict[str, str] = {}
        self.add("admin", "olga")

    def pair(self, name: str) -> KeyPair:
        """Give somebody's keys; made up when first asked for."""
        return self._pairs.setdefault(name, new_key_pair())

    def add(self, role: Role, name: str) -> None:
        """Put a key into the list."""
        self._lines[name] = f"{role} {name} {self.pair(name).public}"
        self._write()

    def remove(self, name: str) -> None:
        """Take a key out of the list."""
        del self._lines[name]
        self._write()

    def renew(self, node: ConfiguredNode) -> None:
        """Give a node that does not run another key pair."""
        self._pairs[node.name] = new_key_pair()
        self.give_to(node)

    def client(self, name: str, nodes: Sequence[ConfiguredNode]) -> ClientCurve:
        """Give what somebody needs to connect to these nodes."""
        return ClientCurve(self.pair(name), tuple(self.pair(node.name).public for node in nodes))

    def give_to(self, node: ConfiguredNode) -> None:
        """Give a node its keys and the list; tests ask it as an operator."""
        secret = write_secret(self.folder / f"{node.name}.key", self.pair(node.name))
        curve = CurveConfig(secret_key_file=str(secret), allow_list_file=str(self.allow_list))
        node.config = msgspec.structs.replace(node.config, curve=curve)
        node.write_config()
        node.curve = self.client("olga", [node])
        self.add("node", node.name)

    def _write(self) -> None:
        new = self.allow_list.with_suffix(".new")
        new.write_text("# who is let in\n\n" + "\n".join(self._lines.values()) + "\n")
        new.replace(self.allow_list)


def write_secret(path: Path, pair: KeyPair) -> Path:
    """Write a key pair into a file for its owner alone."""
    path.touch(mode=0o600)
    path.write_text(render_key_pair(pair))
    return path
