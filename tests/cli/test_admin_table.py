"""The table of commands against the table of routes: nothing is missing, nothing is made up."""

from __future__ import annotations

import re
import string
from collections import Counter
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import click
import msgspec
import pytest

from felix.cli.admin import main
from felix.cli.admin.command import Command
from felix.cli.admin.errors import HINTS
from felix.cli.admin.members import DOORS, FIELD, members_of
from felix.cli.admin.runner import make
from felix.cli.admin.spellings import NEVER_OPTIONS, SPELLINGS
from felix.cli.admin.table import BY_HAND, TABLE, WITHOUT_COMMAND
from felix.http.errors import STATUS_BY_CODE
from felix.http.routes import ROUTES

ROOT = Path(__file__).parents[2]
TAKEN_BACK_EASILY = {
    "cancel_drain", "cancel_shard_move", "cancel_plan", "remove_policy", "remove_grouping",
    "delete_acl", "delete_setting",
}  # fmt: skip
"""Operations of method DELETE after which nothing is lost: the same thing can be set again."""
IRREVERSIBLE = {
    "purge_stream", "abandon_shard", "revoke_tokens", "revoke_all_tokens", "set_feature_level",
    "deregister_broker",
}  # fmt: skip
SELF_EXPLAINING = {
    "internal", "malformed", "unknown_message", "unsupported_version", "method_not_allowed",
    "request_timeout", "too_large", "unsupported_media_type", "unprocessable", "validation_error",
    "not_enabled", "conflict", "already_initialized", "membership_refused", "transfer_refused",
    "future_version", "idp_unavailable", "no_leader", "not_leader", "deadline_exceeded",
    "outcome_unknown", "shutting_down",
}  # fmt: skip
"""Codes whose message says what to correct, whose reason has the hint, or that mean that no node
could: these have hints of their own."""

every_command = pytest.mark.parametrize("command", TABLE, ids=lambda command: command.name)


def test_every_operation_has_a_command_or_a_reason_for_having_none() -> None:
    operations = {route.operation for route in ROUTES}
    in_table = {command.operation for command in TABLE}
    missing = operations - in_table - BY_HAND.keys() - WITHOUT_COMMAND.keys()
    assert not missing, "give each a line in a table of cli/admin, or a reason in table.py"
    assert not in_table & (BY_HAND.keys() | WITHOUT_COMMAND.keys())
    assert BY_HAND.keys() | WITHOUT_COMMAND.keys() <= operations
    assert all(WITHOUT_COMMAND.values())


def test_every_command_that_is_written_by_hand_is_there() -> None:
    for words in BY_HAND.values():
        noun, _, verb = words.partition(" ")
        found = main.commands[noun]
        assert not verb or (isinstance(found, click.Group) and verb in found.commands)


def test_no_two_commands_have_the_same_name() -> None:
    assert max(Counter(command.name for command in TABLE).values()) == 1


@every_command
def test_a_command_says_what_each_option_is_and_spells_no_two_alike(command: Command) -> None:
    made = make(command)
    assert made.help
    options = [one for one in made.params if isinstance(one, click.Option)]
    for one in options:
        assert one.help, (command.name, one.name)
    flags = Counter(flag for one in options for flag in one.opts + one.secondary_opts)
    assert max(flags.values()) == 1, flags


@every_command
def test_a_line_of_the_table_names_only_what_its_operation_has(command: Command) -> None:
    door = DOORS[command.operation]
    offered = {one.name for one in members_of(command)}
    named = {*command.spelled, *command.arguments, *command.required, *command.fixed}
    named |= {command.own, command.named_after} - {""}
    assert named <= offered
    body = set() if door.request is None else set(door.request.__struct_fields__)
    assert set(command.without) <= body
    sentences = string.Formatter().parse(command.destroys + command.done)
    assert {name for _, name, _, _ in sentences if name} <= offered
    assert set(FIELD.findall(door.path)) <= offered
    if command.saves:
        assert door.response is not None


@every_command
def test_a_column_shows_a_member_of_the_answer(command: Command) -> None:
    answer: Any = DOORS[command.operation].response
    if command.rows:
        answer = _inner(get_type_hints(answer)[command.rows])
    elif answer is not None and "items" in answer.__struct_fields__:
        assert command.columns, "a list needs columns"
        answer = _inner(get_type_hints(answer)["items"])
    for column in command.columns:
        heading, _, path = column.partition("=")
        assert heading.isupper()
        kind = answer
        for name in path.split("."):
            kind = get_type_hints(kind)[name]
            kind = next((one for one in get_args(kind) if _is_record(one)), kind)


def _inner(kind: Any) -> Any:
    assert get_origin(kind) is list
    return get_args(kind)[0]


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


@every_command
def test_what_loses_something_asks_first(command: Command) -> None:
    operation = command.operation
    loses = DOORS[operation].method == "DELETE" or operation in IRREVERSIBLE
    assert bool(command.destroys) == (loses and operation not in TAKEN_BACK_EASILY)


def test_every_spelling_is_used() -> None:
    used = {one.name for command in TABLE for one in members_of(command)}
    assert SPELLINGS.keys() <= used
    hidden = {
        name
        for command in TABLE
        for name in _all_members(command)
        if name in NEVER_OPTIONS
    }  # fmt: skip
    assert hidden == NEVER_OPTIONS.keys()


def _all_members(command: Command) -> set[str]:
    door = DOORS[command.operation]
    found = {one.name for one in door.parameters}
    for name, kind in get_type_hints(door.request).items() if door.request else ():
        found.add(name)
        for inner in get_args(kind):
            if _is_record(inner):
                found |= {f"{name}.{one}" for one in inner.__struct_fields__}
    return found


def test_every_code_and_every_reason_of_the_metadata_has_a_next_step() -> None:
    assert STATUS_BY_CODE.keys() - HINTS.keys() - SELF_EXPLAINING <= {
        "already_exists", "precondition_failed"  # in the words of the noun
    }  # fmt: skip
    sources = [path.read_text() for path in (ROOT / "core" / "catalog").glob("*.py")]
    reasons = set(re.findall(r'details=\{\s*"reason": "(\w+)"', "".join(sources)))
    moves = (ROOT / "core" / "catalog" / "move_changes.py").read_text()
    reasons |= set(re.findall(r'_conflict\(.*?"(\w+)"\s*\)', moves, re.DOTALL))
    assert len(reasons) > 12
    assert reasons <= HINTS.keys()
