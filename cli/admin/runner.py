"""Makes a command line of every line of the table, and runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click
import msgspec

from felix.cli.admin import proofs
from felix.cli.admin.client import AdminClient, Reply, Request
from felix.cli.admin.command import Command
from felix.cli.admin.confirmation import confirm, yes_option
from felix.cli.admin.errors import HINTS, OutcomeUnknown, Refused, TimedOut, Usage, plain
from felix.cli.admin.following import followable
from felix.cli.admin.members import DOORS, Member, members_of
from felix.cli.admin.merging import merged
from felix.cli.admin.names import Names
from felix.cli.admin.options import default_of, with_client, with_output, with_waiting_if
from felix.cli.admin.output import Format, progress, show_document
from felix.cli.admin.requests import PAGE_SIZE, request_of
from felix.cli.admin.table import COMMANDS, TABLE
from felix.cli.admin.tables import show_one, show_rows
from felix.cli.admin.wait import until_done
from felix.http.brokers_wait import APPLIED, LAGGING, UNKNOWN

VARIABLES: Final = {"tenant_id": "FELIX_ADMIN_TENANT", "namespace": "FELIX_ADMIN_NAMESPACE"}
WRONG: Final = ("validation_error", "unprocessable", "malformed", "too_large")
"""Codes that say that the command itself is not right."""
ARGUMENT: Final = "own_argument"
_TYPES: Final[dict[str, Any]] = {
    "integer": click.IntRange(min=0),
    "seconds": click.FloatRange(0, 60),
}


def make(command: Command) -> click.Command:
    """Make one command."""
    members = members_of(command)

    def run(**values: Any) -> None:
        Run(command, members, values).run()

    door = DOORS[command.operation]
    run.__doc__ = (command.help or door.summary).rstrip(".") + "."
    made: Callable[..., Any] = with_client(with_output(run))
    if command.follows:
        made = with_waiting_if(made, is_default=command.waits)
    if command.destroys:
        made = yes_option(made)
    made = proofs.with_options(made, command)
    if "page_token" in {one.name for one in door.parameters}:
        made = click.option(
            "--limit", type=click.IntRange(min=1), metavar="N", help="At most so many."
        )(made)
    for member in reversed(members):
        made = _option(member, command)(made)
    return click.command(command.verb)(made)


def _option(member: Member, command: Command) -> Callable[[Any], Any]:
    kind = click.Choice(member.choices) if member.choices else _TYPES.get(member.reads)
    if member.name in command.arguments:
        return click.argument(member.variable, type=kind, metavar=member.name.upper())
    is_own = member.name == command.own
    names = Names(member, command)
    needed = "" if is_own or not member.required else "  [required]"
    option = click.option(
        *member.flags,
        member.variable,
        type=kind,
        metavar=member.spelling.metavar or None,
        is_flag=member.reads in {"flag", "stale"},
        multiple=member.is_list or member.reads in {"texts", "pairs", "streams"},
        envvar=None if is_own else VARIABLES.get(member.name),
        shell_complete=None if kind else names,
        help=member.spelling.help + needed,
    )
    if not is_own:
        return option

    def both(made: Any) -> Any:
        argument = click.argument(
            ARGUMENT,
            type=kind,
            required=False,
            metavar=f"[{member.flag.strip('-').upper()}]",
            shell_complete=None if kind else names,
        )
        return argument(option(made))

    return both


class Run:
    """One run of a command."""

    def __init__(self, command: Command, members: list[Member], values: dict[str, Any]) -> None:
        self._command = command
        self._members = members
        self._client: AdminClient = values.pop("client")
        self._output: Format = values.pop("output")
        self._flags = values
        self._given = self._named(values)

    def run(self) -> None:
        """Ask, wait, show. Raises: AdminError."""
        command = self._command
        proofs.check_can_save(self._flags)
        try:
            reply, shown = self._do()
        except Refused as error:
            raise _with_next_step(error, command) from error
        if proofs.saved(command, reply, self._flags):
            return
        self._show(reply, shown)
        self._judge(reply)

    def _do(self) -> tuple[Reply, Command]:
        """Give the answer, and the command whose table shows it."""
        command = self._command
        request = request_of(command, self._members, self._given)
        request = proofs.proven(command, request, self._flags)
        if command.destroys and "dry_run" not in self._given:
            is_sure = self._flags["yes"]
            request = confirm(command, request, self._given, self._client, is_sure=is_sure)
        request = merged(self._client, request, DOORS[command.operation].request)
        reply = self._ask(request)
        return self._follow(reply) if self._flags.get("wait") else (reply, command)

    def _named(self, values: dict[str, Any]) -> dict[str, Any]:
        """Give what was given, by the members' names. Raises: Usage where something is missing."""
        command = self._command
        own = values.pop(ARGUMENT, None)
        context = click.get_current_context()
        given: dict[str, Any] = {}
        for one in self._members:
            value = values.pop(one.variable)
            if one.name == command.own and own is not None:
                if value is not None:
                    raise Usage(
                        f"{own} and {one.flag} {value}: which one?", "leave one of both out"
                    )
                value = own
            elif value is None and one.name != command.own:
                value = default_of(context, one.name)
            if value is not None and value is not False and value != ():
                given[one.name] = value
        if command.named_after and command.own in given:
            given.setdefault(command.named_after, given[command.own])
        missing = [one.flag for one in self._members if one.required and one.name not in given]
        if missing:
            raise Usage(
                f"missing: {', '.join(missing)}", f"felix-admin {command.name} --help says all"
            )
        return given

    def _ask(self, request: Request) -> Reply:
        """Ask; of a list, for all pages up to the limit."""
        limit = self._flags.get("limit")
        if "limit" not in self._flags:
            return self._client.ask(request)
        items: list[Any] = []
        query = dict(request.query)
        while True:
            left = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(items))
            page = {**query, "page_size": str(left)}
            reply = self._client.ask(msgspec.structs.replace(request, query=page))
            items += reply.document["items"]
            token = reply.document["next_page_token"]
            if not token or (limit is not None and len(items) >= limit):
                document = {**reply.document, "items": items}
                return msgspec.structs.replace(reply, document=document)
            query["page_token"] = token

    def _follow(self, reply: Reply) -> tuple[Reply, Command]:
        """Wait for what was begun, and look at it then."""
        assert self._command.follows is not None
        follow = followable(self._command.follows, self._client, reply.document)
        if follow is None:
            return reply, self._command
        with progress() as say:
            timeout_s = self._flags["timeout_s"]
            until_done(follow.step, say, timeout_s=timeout_s, look_at=follow.look_at)
        return self._client.ask(follow.result), COMMANDS[follow.shown_as]

    def _show(self, reply: Reply, command: Command) -> None:
        document = reply.document
        if document is None:
            if self._output == "table":
                said = command.done or f"{command.name}: done"
                click.echo(plain(said.format_map(_Values(self._given))))
            return
        is_page = isinstance(document, dict) and "items" in document and bool(command.columns)
        rows = document["items"] if is_page else document
        if self._output != "table":
            show_document(rows, self._output)
        elif isinstance(rows, list):
            show_rows(command.columns, rows)
        elif command.rows:
            show_rows(command.columns, rows[command.rows])
        else:
            show_one(rows)

    def _judge(self, reply: Reply) -> None:
        """Let the exit code say what the answer says. Raises: AdminError."""
        command = self._command
        if command.must_be and not reply.document[command.must_be]:
            raise Refused("not allowed", "see why: felix-admin explain ACTION OBJECT")
        applied = reply.headers.get(APPLIED.lower())
        if applied == UNKNOWN:
            raise OutcomeUnknown(
                "done, and nobody can say which brokers have it in force",
                "see their lag: felix-admin broker list",
            )
        if applied is not None and LAGGING.lower() in reply.headers:
            raise TimedOut(
                f"done, and in force at {applied} brokers; not yet at "
                f"{reply.headers[LAGGING.lower()]}",
                "see how far they are: felix-admin broker list",
            )


class _Values(dict[str, Any]):
    """Values for a sentence; what was not given is said as such."""

    def __missing__(self, name: str) -> str:
        return f"({name})"


def _with_next_step(error: Refused, command: Command) -> Refused:
    """Say the next thing to try in the words of the command, where no reason has said it."""
    noun = command.noun
    there = (
        f"see what is there: felix-admin {noun} {'get' if f'{noun} get' in COMMANDS else 'list'}"
    )
    steps = {
        "already_exists": there,
        "conflict": there,
        "precondition_failed": f"look again, and take its version: felix-admin {noun} get",
        **dict.fromkeys(WRONG, f"correct it: felix-admin {command.name} --help"),
    }
    if f"{noun} list" in COMMANDS:
        steps["not_found"] = f"see what there is: felix-admin {noun} list"
    if error.code not in steps or error.reason in HINTS:
        return error
    return Refused(error.message, steps[error.code], code=error.code, reason=error.reason)


def groups() -> dict[str, list[click.Command]]:
    """Make all commands, by noun; under the empty one those that stand at the top."""
    found: dict[str, list[click.Command]] = {}
    for command in TABLE:
        noun = command.noun if " " in command.name else ""
        found.setdefault(noun, []).append(make(command))
    return found
