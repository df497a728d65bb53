"""Changes of parts: the API replaces members whole, and people mean only what they name."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec

from felix.cli.admin.client import EXPECTED_VERSION, AdminClient, Request


def merged(client: AdminClient, request: Request, record: type[msgspec.Struct] | None) -> Request:
    """Fill the members of a PATCH that have members up with what is there now.

    The change is then bound to the version that was read. Raises: AdminError.
    """
    if request.method != "PATCH" or not any(isinstance(one, dict) for one in request.body.values()):
        return request
    assert record is not None
    found = client.ask(Request(path=request.path)).document
    before = found.get("broker", found)
    body = {
        name: _over(before.get(name), value, _offered(record, name))
        if isinstance(value, dict)
        else value
        for name, value in request.body.items()
    }
    query = {EXPECTED_VERSION: str(before["version"]), **request.query}
    return msgspec.structs.replace(request, body=body, query=query)


def _over(before: dict[str, Any] | None, change: dict[str, Any], offered: set[str] | None) -> Any:
    kept = before or {}
    if offered is not None:
        kept = {name: value for name, value in kept.items() if name in offered}
    return {**kept, **change}


def _offered(record: type[msgspec.Struct], name: str) -> set[str] | None:
    """Name what a member may have; None: anything."""
    for kind in getattr(get_type_hints(record)[name], "__args__", ()):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return set(kind.__struct_fields__)
    return None
