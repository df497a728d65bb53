"""The next build of Felix, of feature level 2: this one, copied and patched.

It knows one command more (`LabelCache`), and one optional member more of some records that both
builds know: `label` of `CreateCache` and `Cache`, others in what a dump holds. `write` puts it into
a folder, under the name of `felix` for a process of its own, or under another name beside the build
under test.
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = "felix"
NEXT: Final = "next_felix"
LEVEL: Final = 2

_COMMAND: Final = '''
class LabelCache(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Label a cache."""

    tenant_id: str
    namespace: str
    cache: str
    label: str


AnyCommand: TypeAlias = ('''

_HANDLER: Final = """
def _label_cache(command: LabelCache, context: Context) -> list[Step]:
    _require_namespace(context, command.tenant_id, command.namespace)
    key = (command.tenant_id, command.namespace, command.cache)
    return _patch("Cache", key, command, ("label",), context)


_HANDLERS: """

_CACHE_FIELDS: Final = '    cache: str\n    display_name: str = ""\n'
_LABEL: Final = '    label: str = ""\n'

PATCHES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "proto/commands.py": (
        ("\nAnyCommand: TypeAlias = (", _COMMAND),
        ("    | SetFeatureLevel\n", "    | SetFeatureLevel\n    | LabelCache\n"),
        (_CACHE_FIELDS, _CACHE_FIELDS + _LABEL),
    ),
    "proto/resources.py": ((_CACHE_FIELDS, _CACHE_FIELDS + _LABEL),),
    "proto/levels.py": (
        ("FEATURE_LEVEL: Final = 1", f"FEATURE_LEVEL: Final = {LEVEL}"),
        ("    Proposal,\n    Set", "    CreateCache,\n    LabelCache,\n    Proposal,\n    Set"),
        (
            "    SetFeatureLevel: lambda",
            f"    LabelCache: lambda command: {LEVEL},\n"
            f"    CreateCache: lambda command: {LEVEL} if command.label else 1,\n"
            "    SetFeatureLevel: lambda",
        ),
    ),
    "proto/control_plane.py": (
        (
            "    commands.DeleteCache: Deleted,\n",
            "    commands.DeleteCache: Deleted,\n    commands.LabelCache: resources.Cache,\n",
        ),
    ),
    "core/catalog/idempotency.py": (
        (
            "    error: ErrorReply | None = None\n",
            "    error: ErrorReply | None = None\n    cause: str | None = None\n",
        ),
    ),
    "core/catalog/dump.py": (
        (".hex()\n\n\nclass Trailer(", ".hex()\n    hint: int = 0\n\n\nclass Trailer("),
    ),
    "core/catalog/audit_subjects.py": (
        ("    GrantRefresh,\n    Put", "    GrantRefresh,\n    LabelCache,\n    Put"),
        ("    DeleteCache: _", "    LabelCache: _cache,\n    DeleteCache: _"),
    ),
    "core/catalog/changes.py": (
        (
            "    DeleteTenant,\n    UpdateCache,",
            "    DeleteTenant,\n    LabelCache,\n    UpdateCache,",
        ),
        ("\n_HANDLERS: ", _HANDLER),
        ("    DeleteCache: _", "    LabelCache: _label_cache,\n    DeleteCache: _"),
        (
            "        cache=command.cache,\n        display_name=command.display_name,\n",
            "        cache=command.cache,\n        display_name=command.display_name,\n"
            "        label=command.label,\n",
        ),
    ),
}  # fmt: skip
"""What the next build has changed, by file: text of this build, and what is there instead."""


def write(folder: Path, package: str = PACKAGE) -> None:
    """Put the next build into a folder; run Python there to have it as `package`."""
    target = folder / package
    target.mkdir()
    for item in sorted((ROOT / PACKAGE).iterdir()):
        if item.is_dir() and item.name != "__pycache__":
            shutil.copytree(item, target / item.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif item.is_file():
            shutil.copy(item, target)
    for name, changes in PATCHES.items():
        text = (target / name).read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old!r}"
            text = text.replace(old, new)
        (target / name).write_text(text, encoding="utf-8")
    if package != PACKAGE:
        for path in target.rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            path.write_text(
                re.sub(rf"\b(from|import) {PACKAGE}\b", rf"\1 {package}", text), "utf-8"
            )


class Build:
    """The state machine of one build: its catalog, and how to write and read its log."""

    def __init__(self, package: str = PACKAGE) -> None:
        self._package = package
        self.commands: Any = self.module("proto.commands")
        self.levels: Any = self.module("proto.levels")
        self.dump: Any = self.module("core.catalog.dump")
        self.encode: Callable[[object], bytes] = self.module("proto.codec").encode
        self._request = msgspec.msgpack.Decoder(self.commands.AnyCommand)
        self.make_catalog: Callable[..., Any] = self.module("core.catalog.catalog").Catalog
        self.too_low: type[Exception] = self.module("proto.errors").FeatureLevelTooLow
        self.limits: Any = self.module("core.catalog.catalog").CatalogLimits

    def module(self, name: str) -> ModuleType:
        """Import one of its modules."""
        return importlib.import_module(f"{self._package}.{name}")

    def command(self, travels: bytes) -> Any:
        """Read a command as it travels. Raises: msgspec.ValidationError."""
        return self._request.decode(travels)

    def entry(self, command: Any, time_ms: int, key: str | None = None) -> bytes:
        """Write a log entry, as the leader does."""
        stamp = self.commands.Stamp(time_ms, "req-1", "alice", "10.0.0.7:5123", key)
        return self.encode(self.commands.Proposal(self.levels.level_of(command), stamp, command))

    def apply(self, catalog: Any, entry: bytes) -> Any:
        """Apply the next entry of a log, as every node does. Raises: this build's TooOld."""
        index = catalog.applied_index + 1
        return catalog.apply(index, self.levels.read_proposal(index, entry))

    def dumped(self, catalog: Any) -> list[bytes]:
        """Dump a catalog into chunks."""
        dump = self.dump.Dump(catalog)
        return list(iter(lambda: dump.step(50), None))


def load(folder: Path) -> Build:
    """Load the next build beside the build under test."""
    write(folder, NEXT)
    sys.path.insert(0, str(folder))
    try:
        return Build(NEXT)
    finally:
        sys.path.remove(str(folder))
