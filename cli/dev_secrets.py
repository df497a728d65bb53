"""The secrets of a cluster on one machine: made at the first start, kept beside its data."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

import msgspec

from felix.cli.keygen import new_kek, write_secret
from felix.transport.curve import ClientCurve, KeyPair, new_key_pair, read_key_pair, render_key_pair

BOOTSTRAP_TOKEN_BYTES: Final = 24
OPERATOR: Final = "dev"
"""The name of the operator's CURVE key."""


class DevSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """Files, and what is in them."""

    kek_file: Path
    bootstrap_token_file: Path
    bootstrap_token: str
    allow_list_file: Path
    curve_files: dict[str, Path]
    """The key pair of every node, broker and operator, by name."""
    curve_keys: dict[str, KeyPair]

    def client(self, name: str, nodes: list[str]) -> ClientCurve:
        """Give what a broker or an operator needs to speak to these nodes."""
        return ClientCurve(
            self.curve_keys[name], tuple(self.curve_keys[one].public for one in nodes)
        )


def prepare(folder: Path, nodes: list[str], brokers: list[str]) -> DevSecrets:
    """Make what is missing in a folder that only its owner can read. Raises: OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kek_file, token_file = folder / "kek", folder / "bootstrap-token"
    if not kek_file.exists():
        write_secret(kek_file, new_kek())
    if not token_file.exists():
        write_secret(token_file, secrets.token_urlsafe(BOOTSTRAP_TOKEN_BYTES) + "\n")
    roles = {**dict.fromkeys(nodes, "node"), **dict.fromkeys(brokers, "broker"), OPERATOR: "admin"}
    files = {name: folder / f"{name}.curve" for name in roles}
    for file in files.values():
        if not file.exists():
            write_secret(file, render_key_pair(new_key_pair()))
    keys = {name: read_key_pair(file) for name, file in files.items()}
    allow_list = folder / "allow-list"
    lines = [f"{role} {name} {keys[name].public}\n" for name, role in roles.items()]
    _replace(allow_list, "".join(lines))
    return DevSecrets(
        kek_file=kek_file,
        bootstrap_token_file=token_file,
        bootstrap_token=token_file.read_text(encoding="ascii").strip(),
        allow_list_file=allow_list,
        curve_files=files,
        curve_keys=keys,
    )


def write_token(path: Path, token: str) -> None:
    """Put a token into a file of its owner's, whole at every moment."""
    _replace(path, token + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    temporary.replace(path)
