"""Watch messages on their way in: checked, and kept while something before them is missing."""

from __future__ import annotations

from typing import Final

import msgspec

from felix.proto.codec import Decoder
from felix.proto.errors import Malformed, UnsupportedVersion
from felix.proto.rpc import PROTOCOL
from felix.proto.updates import RawUpdate, WatchHeader

_headers: Final = Decoder[WatchHeader](WatchHeader)
_payloads: Final = Decoder[list[RawUpdate]](list[RawUpdate])


class Frame(msgspec.Struct, frozen=True):
    """One watch message whose versions are as its header says."""

    header: WatchHeader
    updates: list[RawUpdate]
    size_bytes: int


def read_frame(header_bytes: bytes, payload: bytes) -> Frame:
    """Decode a watch message. Raises: FelixError."""
    header = _headers.decode(header_bytes)
    if header.protocol != PROTOCOL:
        raise UnsupportedVersion(f"watch protocol {header.protocol}, this is {PROTOCOL}")
    updates = _payloads.decode(payload)
    check_versions(updates, header.first, header.last)
    return Frame(header, updates, len(payload))


def check_versions(updates: list[RawUpdate], first: int, last: int) -> None:
    """Check that updates are exactly `first..last`. Raises: Malformed."""
    if first < 1 or last < first - 1 or len(updates) != last - first + 1:
        raise Malformed(f"{len(updates)} updates where versions {first}..{last} are announced")
    for offset, update in enumerate(updates):
        if update.version != first + offset:
            raise Malformed(f"version {update.version} where {first + offset} belongs")


class PendingFrames:
    """Frames that came too early, in a bounded space."""

    def __init__(self, frames_max: int, bytes_max: int) -> None:
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self._frames: dict[int, Frame] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        """Count the frames kept."""
        return len(self._frames)

    def keep(self, frame: Frame) -> bool:
        """Keep a frame for later; False when there is no room."""
        first = frame.header.first
        known = self._frames.get(first)
        if known is not None and known.header == frame.header:
            return True
        room = self._size_bytes + frame.size_bytes <= self._bytes_max
        if known is not None or not room or len(self._frames) >= self._frames_max:
            return False
        self._frames[first] = frame
        self._size_bytes += frame.size_bytes
        return True

    def next_after(self, cluster_id: str, epoch: int, version: int) -> Frame | None:
        """Take out the frame that continues a view, and drop what is older or of elsewhere."""
        found = None
        for first, frame in sorted(self._frames.items()):
            header = frame.header
            ours = (header.cluster_id, header.epoch) == (cluster_id, epoch)
            if not ours or header.last <= version:
                self._drop(first)
            elif first <= version + 1:
                found = frame
                self._drop(first)
                break
            else:
                break
        return found

    def last_of(self, cluster_id: str, epoch: int) -> int:
        """Name the newest version kept of an epoch; 0 if there is none."""
        headers = [frame.header for frame in self._frames.values()]
        return max(
            (h.last for h in headers if (h.cluster_id, h.epoch) == (cluster_id, epoch)), default=0
        )

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._size_bytes = 0

    def _drop(self, first: int) -> None:
        self._size_bytes -= self._frames.pop(first).size_bytes
