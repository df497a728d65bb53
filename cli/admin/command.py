"""What a command of `felix-admin` is: one line of a table about one operation of the HTTP API.

What the route table says already (fields of the path, members of bodies, parameters) is not said
again: options are made from it, in the spelling of `felix.cli.admin.spellings`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

Reads = Literal[
    "text",
    "integer",
    "flag",
    "stale",
    "seconds",
    "duration",
    "size",
    "texts",
    "pairs",
    "streams",
    "value",
]
"""How a value is read. `stale`: a flag for `consistency`; `seconds`: for a member in milliseconds;
`pairs`: `name=value`, repeated; `streams`: `tenant/namespace/stream`, repeated; `value`: a truth, a
number or text."""

Followed = Literal["placement", "drain", "moves"]
"""What can be waited for: see `felix.cli.admin.following`."""


Proof = Literal["token", "upstream", "refresh", "bootstrap"]


class Spelling(msgspec.Struct, frozen=True):
    """How one member of a request is written on the command line."""

    flags: str
    """As in `-t --tenant`."""
    help: str
    reads: Reads | None = None
    """None: as its type says."""
    metavar: str = ""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command."""

    name: str
    """Noun and verb; a single word stands at the top."""
    operation: str
    """Of the route table."""
    help: str = ""
    """In place of the route's summary."""
    own: str = ""
    """The member that may be given as the argument, too: the name of the object itself. It is never
    taken from a context."""
    arguments: tuple[str, ...] = ()
    """Members that are arguments only, in their order."""
    columns: tuple[str, ...] = ()
    """Of the table: `HEADING=path.to.member`. None: members below each other."""
    rows: str = ""
    """The member of the answer that has the rows of the table."""
    spelled: dict[str, Spelling] = {}
    """Spellings of this command alone."""
    without: tuple[str, ...] = ()
    """Members that it does not offer."""
    required: tuple[str, ...] = ()
    """Members that the API can do without, and this command cannot."""
    named_after: str = ""
    """A member that is the object's name where it is not given."""
    body_from_file: bool = False
    """The body is too deep for options: `--file`."""
    destroys: str = ""
    """What is lost, for the question that comes first; with members in braces."""
    done: str = ""
    """What is said where the answer has no body."""
    follows: Followed | None = None
    waits: bool = True
    """Whether it is followed without being asked to."""
    proof: Proof = "token"
    """What lets the caller in, if it is not their Felix token."""
    saves: bool = False
    """The answer has a token, which a context can keep."""
    must_be: str = ""
    """A member of the answer that must be true, or the exit code is 1."""
    patience_s: float = 0.0
    """How much longer than others the answer may take."""
    fixed: dict[str, Any] = {}
    """Members of the body where they are not given."""
    shape: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """What else a body needs, by what is in it."""

    @property
    def noun(self) -> str:
        """The first word."""
        return self.name.partition(" ")[0]

    @property
    def verb(self) -> str:
        """The last word."""
        return self.name.rpartition(" ")[2]
