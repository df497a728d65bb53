"""CURVE on ZeroMQ sockets: key pairs, the file that one is kept in, and the options of sockets."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
import zmq
from zmq.utils import z85

Role: TypeAlias = Literal["node", "broker", "admin"]
"""What the owner of a key is to the cluster."""
Door: TypeAlias = Literal["peers", "rpc", "watch"]
"""A bound socket; its name is also its ZAP domain."""

KEY_CHARACTERS: Final = 40
FILE_BYTES_MAX: Final = 4 << 20
HANDSHAKE_MS: Final = 2000
"""Who is not let in is hung up on after this time, and may try again."""
_HEADER: Final = """\
# A CURVE key pair. Whoever has this file is its owner: keep it where it is used.
# Only the public key goes into allow-lists: `role name public-key`.
"""


class BadKeyFile(OSError):
    """A file of keys that cannot be used; `problems` says all that is wrong with it.

    An OSError: to whoever starts a node it is a file that cannot be read.
    """

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__("\n".join(f"{path}: {one}" for one in problems))
        self.problems = problems


class KeyPair(msgspec.Struct, frozen=True):
    """Who somebody is: both keys in Z85."""

    public: str
    secret: str

    def __repr__(self) -> str:
        """Name the owner; the secret is in no log."""
        return f"KeyPair(public={self.public!r})"


class ClientCurve(msgspec.Struct, frozen=True):
    """What a client needs: its own keys, and the public keys of the nodes that it asks."""

    own: KeyPair
    server_keys: tuple[str, ...]
    """In Z85, one for each node, in the order of the nodes; a single one holds for all."""

    def secure(self, socket: zmq.Socket[bytes], node: int = 0) -> None:
        """Encrypt what a socket that is to connect to that node will say and hear."""
        keys = self.server_keys
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys[node if len(keys) > 1 else 0].encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.own.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.own.secret.encode())

    def check(self, nodes: int) -> None:
        """Make sure that the keys fit so many nodes. Raises: ValueError."""
        if len(self.server_keys) not in {1, nodes}:
            raise ValueError(f"{len(self.server_keys)} server keys for {nodes} nodes")
        for key in self.server_keys:
            if not is_public_key(key):
                raise ValueError(f"not a public key in Z85: {key!r}")


def secure_server(socket: zmq.Socket[bytes], own: KeyPair, door: Door) -> None:
    """Let a socket that is to be bound talk only to those whom the ZAP handler lets in.

    With its domain enforced, nobody is let in where there is no such handler.
    """
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret.encode())
    socket.setsockopt(zmq.ZAP_DOMAIN, door.encode())
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)


def new_key_pair() -> KeyPair:
    """Make up a key pair."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def is_public_key(text: str) -> bool:
    """Whether this is 32 bytes in Z85."""
    if len(text) != KEY_CHARACTERS or not text.isascii():
        return False
    try:
        # Z85 has a spelling for numbers that no four bytes hold.
        return z85.encode(z85.decode(text.encode())).decode() == text
    except (ValueError, KeyError, struct.error):
        return False


def render_key_pair(pair: KeyPair) -> str:
    """Write a key pair as the file that `read_key_pair` reads."""
    return f"{_HEADER}public {pair.public}\nsecret {pair.secret}\n"


def read_key_pair(path: Path) -> KeyPair:
    """Read a key pair from a file that is for its owner. Raises: BadKeyFile, OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        # Its group may read it: Kubernetes gives a pod's secrets to the pod's group.
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise BadKeyFile(
                path, [f"mode {stat.S_IMODE(mode):04o} is not for its owner alone: chmod 600 it"]
            )
        text = file.read(FILE_BYTES_MAX).decode("utf-8", "replace")
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, line in numbered(text):
        word, _, key = line.partition(" ")
        if word not in {"public", "secret"} or word in found or not is_public_key(key.strip()):
            # What the line says is not repeated: it may be the secret key.
            problems.append(f"line {number}: `public KEY` or `secret KEY` is expected, once each")
        else:
            found[word] = key.strip()
    problems += [f"there is no {word} key" for word in ("public", "secret") if word not in found]
    if not problems and zmq.curve_public(found["secret"].encode()).decode() != found["public"]:
        problems.append("the public key is not the secret key's")
    if problems:
        raise BadKeyFile(path, problems)
    return KeyPair(found["public"], found["secret"])


def numbered(text: str) -> list[tuple[int, str]]:
    """List the lines that say something, with their numbers; a comment begins its line with `#`."""
    lines = enumerate((line.strip() for line in text.splitlines()), start=1)
    return [(number, line) for number, line in lines if line and not line.startswith("#")]
