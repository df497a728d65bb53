"""The members that a request of an operation can have, as the route table and its records say."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from felix.cli.admin.command import Command, Reads, Spelling
from felix.cli.admin.spellings import NEVER_OPTIONS, SPELLINGS
from felix.http.identity_routes import BOOTSTRAP
from felix.http.route import Door
from felix.http.routes import ROUTES

DOORS: Final[dict[str, Door]] = {door.operation: door for door in (*ROUTES, BOOTSTRAP)}
FIELD: Final = re.compile(r"{(\w+)}")
Place = Literal["path", "query", "header", "body"]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One value that a command takes."""

    name: str
    """As the API spells it; members of members with dots."""
    place: Place
    spelling: Spelling
    reads: Reads
    choices: tuple[str, ...] = ()
    is_list: bool = False
    required: bool = False

    @property
    def flags(self) -> list[str]:
        """All ways to write its option."""
        return self.spelling.flags.split()

    @property
    def flag(self) -> str:
        """The long one."""
        return next(flag for flag in self.flags if flag.startswith("--"))

    @property
    def variable(self) -> str:
        """Its name among the values of a command."""
        return re.sub(r"\W", "_", self.name).lower()


def members_of(command: Command) -> list[Member]:
    """List the members that a command offers."""
    door = DOORS[command.operation]
    found = {
        one.name: one
        for one in _all(door)
        if one.name not in {*command.without, *NEVER_OPTIONS}
        and not (command.body_from_file and one.place == "body")
    }  # fmt: skip
    return [_adjusted(one, command) for one in found.values()]


def _all(door: Door) -> Iterator[Member]:
    """The body first: what the query can say too is said there."""
    if door.request is not None:
        yield from _of_body(door.request)
    for parameter in door.parameters:
        yield _member(
            parameter.name,
            parameter.place,
            help_text=parameter.summary,
            reads="integer" if parameter.kind == "integer" else "text",
        )
    for name in FIELD.findall(door.path):
        yield _member(name, "path", required=True)


def _adjusted(member: Member, command: Command) -> Member:
    spelling = command.spelled.get(member.name, member.spelling)
    has_default = member.name in {command.named_after, *command.fixed}
    return msgspec.structs.replace(
        member,
        spelling=spelling,
        reads=spelling.reads or member.reads,
        required=(member.required and not has_default) or member.name in command.required,
    )


def _of_body(record: type[msgspec.Struct], prefix: str = "") -> Iterator[Member]:
    hints = get_type_hints(record, include_extras=True)
    for field in msgspec.structs.fields(record):
        name = prefix + field.encode_name
        kind, is_optional = _bare(hints[field.name])
        required = field.required and not is_optional
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from _of_body(kind, f"{name}.")
            continue
        yield _of_type(name, kind, required=required and not prefix)


def _of_type(name: str, kind: Any, *, required: bool) -> Member:
    origin = get_origin(kind)
    if origin in {list, tuple}:
        inner, _ = _bare(get_args(kind)[0])
        choices = get_args(inner) if get_origin(inner) is Literal else ()
        return _member(
            name, "body", reads="texts", choices=choices, is_list=True, required=required
        )
    if origin is Literal:
        return _member(name, "body", choices=get_args(kind), required=required)
    reads: Reads = "flag" if kind is bool else "integer" if kind is int else "text"
    return _member(name, "body", reads=reads, required=required)


def _bare(kind: Any) -> tuple[Any, bool]:
    """Take a type out of `Annotated` and `| None`; say whether it was optional."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in {Union, types.UnionType}:
        others = [one for one in get_args(kind) if one is not type(None)]
        if len(others) == 1:
            return _bare(others[0])[0], True
    return kind, False


def _member(
    name: str,
    place: Place,
    *,
    help_text: str = "",
    reads: Reads = "text",
    choices: tuple[str, ...] = (),
    is_list: bool = False,
    required: bool = False,
) -> Member:
    flag = "--" + name.rpartition(".")[2].replace("_", "-")
    spelling = SPELLINGS.get(name) or Spelling(flag, help_text and f"{help_text.capitalize()}.")
    return Member(
        name=name,
        place=place,
        spelling=spelling,
        reads=spelling.reads or reads,
        choices=choices,
        is_list=is_list or reads == "texts",
        required=required,
    )
