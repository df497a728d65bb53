"""Contexts: which cluster is meant and how one is let in, by a name, in a file of one's own.

The file is `felix/admin.yaml` below `$XDG_CONFIG_HOME` (or `~/.config`), or what
`FELIX_ADMIN_CONFIG` names. It may hold tokens: nobody else may read it, and they are never shown.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from felix.cli.admin.errors import Usage
from felix.identity.discreet import Discreet

FILE_VARIABLE: Final = "FELIX_ADMIN_CONFIG"
MODE: Final = 0o600
FILE_BYTES_MAX: Final = 1 << 20
STORED: Final = "stored here"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", re.ASCII)


class Context(Discreet, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """One cluster as somebody uses it."""

    endpoints: tuple[str, ...] = ()
    ca_file: str = ""
    token_file: str = ""
    """Read with every command: whoever renews the token writes it there."""
    token_env: str = ""
    """Name of the environment variable with the token."""
    token: str = ""
    """The token itself, where `token exchange --save` or `context set --token-stdin` put it."""
    refresh_token: str = ""
    tenant: str = ""
    """Meant where a command needs a tenant and is not told which."""
    namespace: str = ""

    def shown(self) -> dict[str, Any]:
        """Give what may be seen of it."""
        seen: dict[str, Any] = msgspec.to_builtins(self)
        seen["endpoints"] = list(self.endpoints)
        hidden = [name for name in ("token", "refresh_token") if name in seen]
        return seen | dict.fromkeys(hidden, STORED)


class Contexts(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The whole file."""

    current: str = ""
    contexts: dict[str, Context] = {}

    def named(self, name: str) -> Context:
        """Find one. Raises: Usage."""
        if name not in self.contexts:
            raise Usage(
                f"there is no context {name!r}", "see which there are: felix-admin context list"
            )
        return self.contexts[name]

    def with_context(self, name: str, context: Context) -> Contexts:
        """Set one; the first one is the current one."""
        check_name(name)
        return Contexts(self.current or name, {**self.contexts, name: context})


def check_name(name: str) -> None:
    """Refuse what is no name of a context. Raises: Usage."""
    if not _NAME.fullmatch(name):
        raise Usage(f"{name!r} is no name for a context", "take letters, digits, and . _ @ -")


def path_of_file() -> Path:
    """Say where the file is, whether or not it is there."""
    if given := os.environ.get(FILE_VARIABLE):
        return Path(given)
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "felix" / "admin.yaml"


def load(path: Path) -> Contexts:
    """Read the file; none is none. Raises: Usage."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise Usage(f"{path}: {error.strerror}", f"see who may read it: ls -l {path}") from None
    if len(data) > FILE_BYTES_MAX:
        raise Usage(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB", _set_aside(path))
    try:
        document = yaml.safe_load(data)
        found = msgspec.convert({} if document is None else document, Contexts)
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        # what is wrong is not quoted: it may stand beside a token
        raise Usage(f"{path} is not a file of contexts", _set_aside(path)) from None
    if mode & 0o077 and any(one.token or one.refresh_token for one in found.contexts.values()):
        raise Usage(f"{path} holds tokens, and others may read it", f"chmod 600 {path}")
    return found


def save(path: Path, contexts: Contexts) -> None:
    """Replace the file in one step, for nobody else to read. Raises: Usage."""
    text = yaml.safe_dump(msgspec.to_builtins(contexts), sort_keys=False, allow_unicode=True)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".admin-")  # mode 0600 from birth
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Usage(
            f"{path}: {error.strerror}", f"name another file: {FILE_VARIABLE}=FILE"
        ) from None


def _set_aside(path: Path) -> str:
    return f"correct it, or set it aside: mv {path} {path}.old"
