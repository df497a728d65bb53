"""Bodies that may be missing, for methods whose clients often cannot send one."""

from __future__ import annotations

from typing import TypeVar

import falcon
import msgspec

from felix.http.desk import Desk
from felix.http.strict_json import to_record

Body = TypeVar("Body", bound=msgspec.Struct)


def read_optional(desk: Desk, req: falcon.Request, default: Body) -> Body:
    """Read a body, or take the default if there is no `Content-Type` (contract, section 7.1).

    Raises: see `strict_json.read_object`.
    """
    if req.get_header("Content-Type") is None:
        return default
    return desk.read(req, type(default))


def read_either(desk: Desk, req: falcon.Request, kind: type[Body]) -> Body:
    """Read members, all of them text, from the query, or from a body if the query has none.

    Raises: see `strict_json.read_object`.
    """
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    given = {name: req.get_param(name) or "" for name in names if name in req.params}
    return to_record(given, kind) if given else desk.read(req, kind)
