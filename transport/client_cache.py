"""A broker's metadata on disk, so that it can start while the control plane is down.

One file: a line that names the format, 32 bytes BLAKE2b of all that follows, then the MessagePack
of `_Content`. A file that is not exactly that is not used.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from felix.proto import codec
from felix.proto.errors import FelixError
from felix.transport.view import MetadataView

_MAGIC: Final = b"felix broker cache 1\n"
_SUM_BYTES: Final = 32


class _Content(msgspec.Struct, frozen=True):
    cluster_id: str
    epoch: int
    version: int
    digest: str
    objects: list[bytes]


_decoder: Final = codec.Decoder[_Content](_Content)


class CacheDamaged(Exception):
    """The file is not a whole cache file of this format."""


class ClientCache:
    """The cache file of one broker."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, view: MetadataView) -> None:
        """Replace the file, durably; after a crash it is the old one or the new one.

        Raises: OSError.
        """
        if not view.complete:
            return  # its digest covers objects that are not kept
        content = codec.encode(
            _Content(view.cluster_id, view.epoch, view.version, view.digest, list(view.encoded()))
        )
        temporary = self._path.with_name(self._path.name + ".new")
        with temporary.open("wb") as file:
            file.write(_MAGIC)
            file.write(hashlib.blake2b(content, digest_size=_SUM_BYTES).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def load(self) -> MetadataView | None:
        """Read the file; None if there is none. Raises: CacheDamaged, OSError."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        body = memoryview(data)[len(_MAGIC) + _SUM_BYTES :]
        found_sum = data[len(_MAGIC) : len(_MAGIC) + _SUM_BYTES]
        if not data.startswith(_MAGIC):
            raise CacheDamaged("it is not a cache file of this format")
        if hashlib.blake2b(body, digest_size=_SUM_BYTES).digest() != found_sum:
            raise CacheDamaged("its checksum is wrong")
        try:
            content = _decoder.decode(body)
            view = MetadataView(content.cluster_id, content.epoch, content.version)
            for raw in content.objects:
                view.load(raw)
        except FelixError as error:
            raise CacheDamaged(error.message) from error
        if view.digest != content.digest:
            raise CacheDamaged("its digest is wrong")
        return view
