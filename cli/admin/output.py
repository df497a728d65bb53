"""What `felix-admin` shows: the result on stdout, progress on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, Literal

import click
import msgspec
import yaml
from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from felix.cli.admin.errors import plain
from felix.cli.admin.wait import Step
from felix.http.audit_views import AuditPageView
from felix.http.cluster_views import ClusterView, MemberView

Format = Literal["table", "json", "yaml"]
FORMATS: Final = ("table", "json", "yaml")

FILE_COLUMNS: Final = 400
"""Width of a table that no terminal shows: nothing is folded."""
LINE_EVERY_S: Final = 2.0
"""Without a terminal, numbers that move are said this often."""
BAR_COLUMNS: Final = 24
NUMBERS: Final = frozenset({"LAG", "LEVEL", "SEQ"})
_LISTENERS: Final = ("peers", "rpc", "watch", "http", "metrics")


def show_status(view: ClusterView, output: Format) -> None:
    """Show who leads, who takes part and how far each is, and what needs attention."""
    if output != "table":
        show_document(msgspec.to_builtins(view), output)
        return
    names = {member.id: member.name for member in view.members}
    leader = names.get(view.leader_id or "", view.leader_id) or "none"
    click.echo(f"cluster   {plain(view.cluster_id)}, epoch {view.epoch}")
    click.echo(f"leader    {plain(leader)}, term {view.term}")
    click.echo(f"log       committed {view.commit_index:,}, catalog version {view.version:,}")
    click.echo(f"level     {view.feature_level}")
    click.echo(f"change    {'under way' if view.change_under_way else 'none'}")
    for alarm in view.alarms or ["none"]:
        click.echo(f"alarm     {plain(alarm)}")
    click.echo()
    rows = [
        [
            one.name,
            one.role,
            says(one.voter),
            number(one.lag),
            says(one.active),
            str(one.level),
            _remark(one, names),
        ]
        for one in view.members
    ]
    show_table(["NAME", "ROLE", "VOTER", "LAG", "ACTIVE", "LEVEL", ""], rows)


def show_members(view: ClusterView, output: Format) -> None:
    """Show who takes part, under which identity, and where each can be reached."""
    if output != "table":
        show_document([msgspec.to_builtins(one) for one in view.members], output)
        return
    rows = [
        [one.name, one.id, one.role, *(one.addresses.get(name) or "-" for name in _LISTENERS)]
        for one in view.members
    ]
    show_table(["NAME", "ID", "ROLE", *(name.upper() for name in _LISTENERS)], rows)


def show_audit(page: AuditPageView, output: Format) -> None:
    """Show records, newest first, and the hash that proves all of them."""
    if output != "table":
        show_document(msgspec.to_builtins(page), output)
        return
    rows = [
        [
            str(one.sequence),
            one.timestamp,
            one.operation if one.count == 1 else f"{one.operation} ({one.count:,} times)",
            "/".join(name for name in (one.tenant, one.namespace, one.object) if name),
            one.principal,
            one.source,
            one.result if not one.reason else f"{one.result}: {one.reason}",
            one.request_id,
        ]
        for one in page.items
    ]
    columns = ["SEQ", "TIME", "OPERATION", "OBJECT", "PRINCIPAL", "SOURCE", "RESULT", "REQUEST"]
    show_table(columns, rows)
    click.echo(f"head      {page.last_sequence}:{plain(page.last_hash)}")
    if page.next_before:
        click.echo(f"older     --before {page.next_before}")


def says(value: bool | None) -> str:
    """Write yes, no, or that it is not known."""
    return "-" if value is None else "yes" if value else "no"


def number(value: int | None) -> str:
    """Write a number, or that it is not known."""
    return "-" if value is None else f"{value:,}"


def _remark(member: MemberView, names: dict[str, str]) -> str:
    if member.leaving:
        return "leaving"
    if member.replaces is not None:
        return f"replaces {names.get(member.replaces, member.replaces)} {member.replaces[:8]}"
    return ""


def show_document(document: Any, output: Format) -> None:
    """Show it as JSON or YAML."""
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    else:
        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)


def show_table(columns: list[str], rows: list[list[str]], right: frozenset[str] = NUMBERS) -> None:
    """Show rows below headings; the columns in `right` end at one line."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=FILE_COLUMNS)
    console.print(table_of(columns, rows, right))


def table_of(columns: list[str], rows: list[list[str]], right: frozenset[str] = NUMBERS) -> Table:
    """Make a table of text, harmless for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
        table.columns[-1].overflow = "fold"
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


@contextmanager
def progress() -> Iterator[Callable[[Step], None]]:
    """Show steps as they come: in place on a terminal, else line by line."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines()
        return
    shown = _Shown()
    with Live(shown, console=console, transient=True) as live:

        def say(step: Step) -> None:
            shown.update(step)
            live.refresh()

        yield say
    shown.say_last(console)


class _Lines:
    """One line for each new stage, and now and then one while numbers move."""

    def __init__(self) -> None:
        self._stages: set[str] = set()
        self._text = ""
        self._said_s = 0.0

    def __call__(self, step: Step) -> None:
        is_due = monotonic() - self._said_s >= LINE_EVERY_S
        if step.stage not in self._stages or (step.text != self._text and is_due):
            self._stages.add(step.stage)
            self._text, self._said_s = step.text, monotonic()
            click.echo(plain(step.text), err=True)


class _Shown:
    """The step as a line that moves, with a bar while a learner catches up."""

    def __init__(self) -> None:
        self._step = Step("begin", "")
        self._lag_max = 0
        self._spinner = Spinner("dots")

    def update(self, step: Step) -> None:
        """Show another step from now on."""
        self._step = step
        self._lag_max = max(self._lag_max, step.lag or 0)

    def say_last(self, console: Console) -> None:
        """Leave the last step standing."""
        console.print(Text(plain(self._step.text)))

    def __rich__(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        row: list[RenderableType] = [self._spinner, Text(plain(self._step.text))]
        if self._step.lag is not None and self._lag_max:
            done = self._lag_max - self._step.lag
            row.append(ProgressBar(self._lag_max, done, width=BAR_COLUMNS))
        grid.add_row(*row)
        return grid
