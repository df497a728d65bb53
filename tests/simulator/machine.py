"""A state machine as small as can be: eight registers, written by commands that are all distinct.

It carries a digest of everything applied so far, in order, so that two machines that agree on the
digest have applied the same commands.
"""

from __future__ import annotations

import hashlib

import msgspec

from felix.proto.ids import Index
from felix.proto.raft import Entry, EntryKind

REGISTERS = 8


class State(msgspec.Struct, array_like=True):
    """What a snapshot holds."""

    index: Index
    version: int
    digest: bytes
    registers: list[int]


_decoder = msgspec.msgpack.Decoder(State)


class Machine:
    """Applies entries, one after the other."""

    def __init__(self, snapshot: bytes | None = None) -> None:
        """Start empty, or from a snapshot."""
        self.is_wrong = False
        """Whether a bit has flipped."""
        self.state = (
            State(Index(0), 0, b"", [0] * REGISTERS)
            if snapshot is None
            else _decoder.decode(snapshot)
        )

    def apply(self, entry: Entry) -> None:
        """Apply the next entry."""
        state = self.state
        assert entry.index == state.index + 1, "applied out of order"
        state.index = entry.index
        if entry.kind is EntryKind.COMMAND:
            command = command_number(entry.data)
            state.registers[command % REGISTERS] = command
            state.version += 1
        state.digest = next_digest(state.digest, entry)

    def flip_a_bit(self) -> None:
        """Be wrong from now on."""
        self.is_wrong = True
        digest = self.state.digest or b"\0"
        self.state.digest = bytes([digest[0] ^ 1]) + digest[1:]
        self.state.registers[0] ^= 1

    def snapshot(self) -> bytes:
        """Encode the state."""
        return msgspec.msgpack.encode(self.state)


def command(number: int) -> bytes:
    """Make the command that writes a number into its register; no two commands are the same."""
    return number.to_bytes(8, "big")


def command_number(data: bytes) -> int:
    """Read which command this is."""
    return int.from_bytes(data, "big")


def next_digest(digest: bytes, entry: Entry) -> bytes:
    """Add an entry to a running digest."""
    return hashlib.blake2b(
        b"%b %d %d %b" % (digest, entry.index, entry.kind, entry.data), digest_size=8
    ).digest()
