"""Whose CURVE keys are let in: from a file, and from what the cluster knows of brokers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, get_args

import msgspec
import structlog

from felix.transport.curve import FILE_BYTES_MAX, BadKeyFile, Role, is_public_key, numbered

NAME_CHARACTERS_MAX: Final = 256
ROLES: Final[tuple[Role, ...]] = get_args(Role)

log = structlog.get_logger("felix.curve")


class Owner(msgspec.Struct, frozen=True):
    """Whose a key is."""

    role: Role
    name: str
    """Of a node: its name among the members. Of a broker: its identity."""


class KeyChange(msgspec.Struct, frozen=True):
    """The list is another one now."""

    lost: frozenset[Role]
    """Roles of those whose key is not in it any more, or says something else."""


class _Snapshot(msgspec.Struct, frozen=True):
    by_key: dict[str, Owner]
    node_keys: dict[str, str]


class AllowList:
    """An immutable snapshot at any moment, swapped as a whole; any thread may ask or change it."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises: BadKeyFile, OSError."""
        self.path = path
        self._lock = threading.Lock()
        self._mark = _mark_of(path)
        self._file = read_allow_list(path)
        self._brokers: dict[str, str] = {}
        self._complaint = ""
        self._changed: Callable[[KeyChange], None] = lambda _: None
        self._now = _snapshot(self._file, self._brokers)

    def on_change(self, changed: Callable[[KeyChange], None]) -> None:
        """Say who hears of changes, after the swap, in the thread that made it."""
        self._changed = changed

    def find(self, key: str) -> Owner | None:
        """Say whose a public key is, if it is in the list."""
        return self._now.by_key.get(key)

    def node_key(self, name: str) -> str | None:
        """Give the public key of a node."""
        return self._now.node_keys.get(name)

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._now.by_key)

    def look(self) -> None:
        """Read the file again if it is another one.

        As long as it cannot be read or is wrong, the last good list stays in force.
        """
        try:
            mark = _mark_of(self.path)
            if mark == self._mark:
                return
            found = read_allow_list(self.path)
        except BadKeyFile as error:
            self._mark = mark
            self._complain(str(error))
        except OSError as error:
            self._mark = (0, 0, 0)  # so that it is read once it is there again, whatever it is
            self._complain(str(error))
        else:
            self._mark = mark
            self._complaint = ""
            with self._lock:
                self._file = found
                change = self._swap()
            self._tell(change)

    def set_brokers(self, keys: Mapping[str, str]) -> None:
        """Take over the keys of brokers that the cluster knows, by their identities.

        What the file says of a key comes first.
        """
        with self._lock:
            self._brokers = {key: name for name, key in sorted(keys.items()) if is_public_key(key)}
            change = self._swap()
        self._tell(change)

    def _swap(self) -> KeyChange | None:
        before, self._now = self._now, _snapshot(self._file, self._brokers)
        now = self._now.by_key
        if before.by_key == now:
            return None
        lost = {owner.role for key, owner in before.by_key.items() if now.get(key) != owner}
        return KeyChange(frozenset(lost))

    def _tell(self, change: KeyChange | None) -> None:
        if change is not None:
            log.info("the allow-list has changed", keys=len(self), lost=sorted(change.lost))
            self._changed(change)

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.error(
                "the allow-list cannot be used: the last good one stays in force",
                reason=complaint,
            )


def read_allow_list(path: Path) -> dict[str, Owner]:
    """Read `role name public-key` from each line. Raises: BadKeyFile, OSError."""
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise BadKeyFile(path, [f"it has more than {FILE_BYTES_MAX} bytes"])
    found: dict[str, Owner] = {}
    problems: list[str] = []
    for number, line in numbered(data.decode("utf-8", "replace")):
        words = line.split()
        problem = _problem(words, found)
        if problem:
            problems.append(f"line {number}: {problem}")
        else:
            found[words[2]] = Owner(msgspec.convert(words[0], Role), words[1])
    if problems:
        raise BadKeyFile(path, problems)
    return found


def _problem(words: list[str], found: Mapping[str, Owner]) -> str | None:
    """Say what is wrong with a line, beside those before it."""
    if len(words) != 3:
        return f"`role name public-key` is expected, not {len(words)} words"
    role, name, key = words
    problem = None
    if role not in ROLES:
        problem = f"the role {role!r} is none of {', '.join(ROLES)}"
    elif len(name) > NAME_CHARACTERS_MAX:
        problem = f"a name has at most {NAME_CHARACTERS_MAX} characters"
    elif not is_public_key(key):
        problem = f"the key of {name!r} is not a public key in Z85 (40 characters)"
    elif key in found:
        problem = f"the key of {name!r} is that of {found[key].name!r} too"
    elif role == "node" and Owner(role, name) in found.values():
        problem = f"the node {name!r} has a key already"  # others must know which one to expect
    return problem


def _snapshot(file: Mapping[str, Owner], brokers: Mapping[str, str]) -> _Snapshot:
    by_key = {key: Owner("broker", name) for key, name in brokers.items()}
    by_key.update(file)
    node_keys = {owner.name: key for key, owner in file.items() if owner.role == "node"}
    return _Snapshot(by_key, node_keys)


def _mark_of(path: Path) -> tuple[int, int, int]:
    """Describe which file this is, and which state of it."""
    found = path.stat()
    return (found.st_mtime_ns, found.st_size, found.st_ino)
