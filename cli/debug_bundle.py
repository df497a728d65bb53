"""A debug bundle: what there is to know of all nodes that answer, in one archive.

What goes in is a fixed list of documents that hold no secrets, configurations of which secrets are
hidden, and lines of logs. All of it goes through a `Redactor` once more. A node that does not
answer, or a document that is refused, is an entry of the manifest and no failure.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from felix import __version__
from felix.cli.debug_redaction import Redactor

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the archive."""

    path: str
    bytes: int
    sha256: str
    redacted: dict[str, int]
    """What was taken out of it, by kind."""


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """What should be in the archive, and is not."""

    node: str
    what: str
    why: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`: what is in the archive, and what is missing."""

    format: int = FORMAT
    tool_version: str = __version__
    created_at_s: int
    """Unix seconds."""
    asked: list[str]
    """The addresses that were given."""
    entries: list[Entry]
    missing: list[Absent]


class Bundle:
    """Collects files, cleans them, and writes the archive."""

    def __init__(self, redactor: Redactor, asked: list[str]) -> None:
        self._redactor = redactor
        self._asked = asked
        self._files: dict[str, bytes] = {}
        self._redacted: dict[str, dict[str, int]] = {}
        self._missing: list[Absent] = []
        self._created_s = int(time.time())

    def add(self, path: str, data: bytes) -> None:
        """Put a file in; one of the same path is replaced."""
        self._files[path], self._redacted[path] = self._redactor.clean(data)

    def add_record(self, path: str, record: object) -> None:
        """Put a record in, as JSON."""
        self.add(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")

    def miss(self, node: str, what: str, why: str) -> None:
        """Say what could not be had."""
        clean = [self._redactor.clean(text.encode())[0].decode() for text in (node, what, why)]
        self._missing.append(Absent(node=clean[0], what=clean[1], why=clean[2]))

    @property
    def manifest(self) -> Manifest:
        """Describe what has come together."""
        return Manifest(
            created_at_s=self._created_s,
            asked=self._asked,
            entries=[
                Entry(
                    path=path,
                    bytes=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                    redacted=self._redacted[path],
                )
                for path, data in sorted(self._files.items())
            ],
            missing=self._missing,
        )

    def write(self, path: Path) -> None:
        """Write the archive, for its owner alone. Raises: OSError, FileExistsError among them."""
        manifest = msgspec.json.format(msgspec.json.encode(self.manifest), indent=2) + b"\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        top = path.name.removesuffix(".gz").removesuffix(".tar")
        with (
            os.fdopen(descriptor, "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz") as archive,
        ):
            for name, data in [(MANIFEST, manifest), *sorted(self._files.items())]:
                info = tarfile.TarInfo(f"{top}/{name}")
                info.size, info.mtime, info.mode = len(data), self._created_s, 0o600
                archive.addfile(info, io.BytesIO(data))


def folder_name(name: str, taken: Iterable[str]) -> str:
    """Make a folder's name of what a node calls itself, and another one where it is taken."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed"
    found, number = plain, 1
    while found in set(taken):
        number += 1
        found = f"{plain}-{number}"
    return found
