"""Names that a shell offers: those that the cluster has, if it answers at once."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from felix.cli.admin.client import AdminClient
from felix.cli.admin.command import Command
from felix.cli.admin.members import DOORS, Member, members_of
from felix.cli.admin.options import default_of
from felix.cli.admin.requests import request_of
from felix.cli.admin.table import COMMANDS
from felix.cli.admin.tables import value_at

HASTE_S: Final = 1.0
"""Whoever presses a key does not wait longer."""
OFFERED_MAX: Final = 100
_LISTS: Final[dict[str, str]] = {
    "tenant_id": "tenant list",
    "namespace": "namespace list",
    "stream": "stream list",
    "cache": "cache list",
    "broker_id": "broker list",
    "target_broker": "broker list",
    "to_broker": "broker list",
    "from_broker": "broker list",
    "bridge": "bridge list",
    "kid": "key list",
}
"""Which command lists what a member names; its first column is the name."""


class Names:
    """Offers the names that a member may have."""

    def __init__(self, member: Member, command: Command) -> None:
        self._list = COMMANDS.get(_LISTS.get(member.name, ""))
        self._is_new = command.verb in {"create", "register"} and member.name == command.own

    def __call__(self, context: click.Context, _param: click.Parameter, begun: str) -> list[str]:
        """Give those that begin with what is typed; none where anything is in the way."""
        client = context.params.get("client")
        if self._list is None or self._is_new or client is None:
            return []
        try:
            return [one for one in self._ask(context, client, begun) if one.startswith(begun)]
        except click.ClickException:
            return []

    def _ask(self, context: click.Context, client: AdminClient, begun: str) -> list[str]:
        assert self._list is not None
        members = members_of(self._list)
        given: dict[str, Any] = {}
        for one in members:
            value = context.params.get(one.variable) or default_of(context, one.name)
            if one.place == "path" and value:
                given[one.name] = value
        if any(one.required and one.name not in given for one in members):
            return []
        request = request_of(self._list, members, given)
        if "page_size" in {one.name for one in DOORS[self._list.operation].parameters}:
            query = {"filter": begun + "*", "page_size": str(OFFERED_MAX)}
            request = msgspec.structs.replace(request, query=request.query | query)
        path = self._list.columns[0].partition("=")[2]
        items = client.hasty(HASTE_S).ask(request).document["items"]
        return [str(value_at(one, path)) for one in items]
