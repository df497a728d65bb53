"""`docs/cli-reference.md`, made of the commands themselves.

To make it anew: python -m felix.cli.admin.reference > docs/cli-reference.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

EVERYWHERE: Final = frozenset({"client", "output", "token_file", "ca_file", "context"})
"""Parameters that nearly all commands have."""
SHARED: Final = frozenset(
    {"yes", "wait", "timeout_s", "filter", "consistency", "expected_version"}
    | {"idempotency_key", "wait_brokers", "wait_timeout_ms"}
)
"""Parameters that mean the same wherever they are."""

HEAD: Final = """\
# Commands of `felix-admin`

Made of the commands themselves, as `-h` shows them; [cli.md](cli.md) says how they are used. The
name of the object itself is an argument or an option, as you like: `stream get orders` is
`stream get --stream orders`. Durations and sizes are written as `7d`, `90d`, `100GB`, `1TiB`, or as
numbers of seconds and bytes; `none` is no limit.
"""


def reference(main: click.Group) -> str:
    """Write the whole page."""
    with click.Context(main, info_name="felix-admin") as context:
        commands = dict(_commands(main))
        everywhere = _first(commands, EVERYWHERE)
        shared = _first(commands, SHARED)
        parts = [
            HEAD,
            "## What nearly all commands have\n",
            "\n".join(_rows(everywhere, context)) + "\n",
            "## What means the same wherever it is\n",
            "\n".join(_rows(shared, context)) + "\n",
        ]
        noun = ""
        for words, command in sorted(commands.items(), key=lambda item: item[0].split()[0]):
            group = main.commands[words.split()[0]]
            if isinstance(group, click.Group) and noun != group.name:
                parts.append(f"## {group.name}\n\n{group.help}\n")
            noun = group.name or ""
            parts.append(_section(words, command, context))
    return "\n".join(parts)


def _commands(main: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {verb}", one) for verb, one in command.commands.items())
        else:
            yield name, command


def _first(commands: dict[str, click.Command], names: frozenset[str]) -> list[click.Parameter]:
    found = {
        one.name: one
        for command in reversed(commands.values())
        for one in command.params
        if one.name in names
    }
    return [found[name] for name in sorted(found, key=str)]


def _section(words: str, command: click.Command, context: click.Context) -> str:
    own = [one for one in command.params if one.name not in EVERYWHERE | SHARED]
    shared = [one.opts[0] for one in command.params if one.name in SHARED]
    usage = " ".join(["felix-admin", words, *_arguments(command, context)])
    text = "\n".join(line.strip() for line in (command.help or "").strip().splitlines())
    parts = [f"{'###' if ' ' in words else '##'} {words}", f"`{usage}`", text]
    if rows := list(_rows(own, context)):
        parts.append("\n".join(rows))
    if shared:
        parts.append("And " + ", ".join(f"`{flag}`" for flag in sorted(shared)) + ".")
    return "\n\n".join(parts) + "\n"


def _arguments(command: click.Command, context: click.Context) -> list[str]:
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    return [one.make_metavar(context) for one in arguments]


def _rows(parameters: list[click.Parameter], context: click.Context) -> Iterator[str]:
    options = [one for one in parameters if isinstance(one, click.Option)]
    if not options:
        return
    yield "| option | |"
    yield "|---|---|"
    for one in options:
        record = one.get_help_record(context)
        if record is not None:
            flags, text = (" ".join(part.split()).replace("|", "\\|") for part in record)
            yield f"| `{flags}` | {text} |"


if __name__ == "__main__":
    from felix.cli.admin import main

    click.echo(reference(main), nl=False)
