"""Reads documents from files: plain YAML only, and each value knows the line that it stands on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from felix.cli.admin.errors import Usage

FILE_BYTES_MAX: Final = 1 << 20
FILES_MAX: Final = 1000
DEPTH_MAX: Final = 20
ENDINGS: Final = frozenset({".yaml", ".yml", ".json"})
_PLAIN: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null", "str")
)
_SEEN_IN_TEXT: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("timestamp", "merge", "value")
)
_MAP_KEY: Final = "tag:yaml.org,2002:str"


class Loaded(msgspec.Struct, frozen=True):
    """One document, and where it came from."""

    body: Any
    source: str
    """File name, or `-`."""
    number: int
    """In its file, from 1."""
    lines: dict[str, int]
    """Pointer -> line, from 1; of a member, that of its name."""

    def at(self, pointer: str) -> str:
        """Say where a member is, or what is nearest around it: file, document and line."""
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        return f"{self.source}:{self.lines[pointer]} (document {self.number})"


def load(paths: tuple[str, ...]) -> list[Loaded]:
    """Read files, all files of folders, and with `-` what comes in. Raises: Usage."""
    found: list[Loaded] = []
    for path in paths:
        for source, text in _texts(path):
            found += _documents(source, text)
    if not found:
        raise Usage("there is no document in there", "felix-admin get all -o yaml shows some")
    return found


def _texts(path: str) -> Iterator[tuple[str, bytes]]:
    if path == "-":
        yield "-", _bounded("-", sys.stdin.buffer.read(FILE_BYTES_MAX + 1))
        return
    place = Path(path)
    files = [place]
    if place.is_dir():
        files = sorted(one for one in place.rglob("*") if one.suffix in ENDINGS)
    if len(files) > FILES_MAX:
        raise Usage(f"{path} has {len(files)} files", f"name a folder of at most {FILES_MAX}")
    for one in files:
        try:
            with one.open("rb") as file:
                yield str(one), _bounded(str(one), file.read(FILE_BYTES_MAX + 1))
        except OSError as error:
            raise Usage(
                f"{one} cannot be read: {error.strerror}", "name a file, a folder, or - for stdin"
            ) from error


def _bounded(source: str, text: bytes) -> bytes:
    if len(text) > FILE_BYTES_MAX:
        raise Usage(f"{source} has more than {FILE_BYTES_MAX} bytes", "apply it in parts")
    return text


def _documents(source: str, text: bytes) -> Iterator[Loaded]:
    loader = None
    number = 0
    try:
        loader = _Strict(text.decode())
        while loader.check_node():
            number += 1
            node = loader.get_node()
            lines: dict[str, int] = {}
            body = _value(source, node, "", lines, 0)
            if body is not None:
                yield Loaded(body, source, number, lines)
    except UnicodeDecodeError as error:
        raise Usage(f"{source} is not UTF-8", "write it as text") from error
    except RecursionError as error:
        raise Usage(f"{source} is nested too deeply", "write a plain document") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else 1
        raise Usage(
            f"{source}:{line} (document {max(1, number)}): {error.problem}",
            "write plain YAML: no anchors, aliases or tags, and no name twice",
        ) from error
    except yaml.YAMLError as error:
        raise Usage(f"{source} is not YAML: {error}", "write it as text") from error
    finally:
        if loader is not None:
            loader.dispose()


class _Strict(yaml.SafeLoader):
    """Composes no aliases: a file says what it says where it says it."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node. Raises: yaml.MarkedYAMLError."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs have none
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not taken", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


def _value(source: str, node: Any, pointer: str, lines: dict[str, int], depth: int) -> Any:
    """Make plain values of a node, and note where each stands. Raises: yaml.MarkedYAMLError."""
    lines.setdefault(pointer, node.start_mark.line + 1)
    if depth > DEPTH_MAX:
        raise _wrong("nested too deeply", node)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, inner in node.value:
            if key.tag != _MAP_KEY:
                raise _wrong("a name must be text", key)
            if key.value in found:
                raise _wrong(f"{key.value!r} is there twice", key)
            place = f"{pointer}/{key.value}"
            lines[place] = key.start_mark.line + 1
            found[key.value] = _value(source, inner, place, lines, depth + 1)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [
            _value(source, inner, f"{pointer}/{number}", lines, depth + 1)
            for number, inner in enumerate(node.value)
        ]
    return _scalar(node)


def _scalar(node: Any) -> Any:
    """Read a number, yes or no, nothing, or text; what else YAML sees in text stays text."""
    if node.tag in _SEEN_IN_TEXT:
        return node.value
    if node.tag not in _PLAIN:
        raise _wrong("tags are not taken", node)
    constructor = yaml.constructor.SafeConstructor()
    return constructor.construct_object(node)


def _wrong(problem: str, node: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
