"""`docs/http.md` has the routes of the table, and says of each who may use it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, get_args

import pytest

from felix.http.access import Access
from felix.http.errors import STATUS_BY_CODE
from felix.http.identity_routes import BOOTSTRAP
from felix.http.openapi import OPENAPI_PATH
from felix.http.route import Door
from felix.http.routes import ROUTES
from felix.identity.reasons import Reason
from felix.proto.queries import Feed

PAGE: Final = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
DOORS: Final[tuple[Door, ...]] = (*ROUTES, BOOTSTRAP)
SHORT: Final = {
    "{tenant_id}": "{t}", "{namespace}": "{ns}", "{stream}": "{s}", "{cache}": "{c}",
    "{broker_id}": "{broker}",
}  # fmt: skip
OF_NO_KIND: Final = {
    "open": "nothing",
    "feed": "broker, or sight of all",
    "upstream": "a provider's token",
    "bootstrap": "the bootstrap token",
}
OUTSIDE_THE_TABLE: Final = {
    ("GET", OPENAPI_PATH): "nothing",
    ("GET", "/docs/"): "nothing",
    ("GET", "/ui/"): "nothing",
}


def rows_of(page: str) -> dict[tuple[str, str], str]:
    """Read what the page says is needed, by method and path."""
    found: dict[tuple[str, str], str] = {}
    for methods, path, needs in re.findall(r"^\| ([A-Z ]+) \| `(/.*?)` \| (.*?) \|", page, re.M):
        for method in methods.split():
            assert (method, path) not in found, "it stands there twice"
            found[method, path] = needs
    return found


def shortened(text: str) -> str:
    for long, short in SHORT.items():
        text = text.replace(long, short)
    return text


def path_on_the_page(door: Door) -> str:
    feed = re.fullmatch(rf"/v1/(?:{'|'.join(get_args(Feed))})/(snapshot|changes)", door.path)
    return shortened(door.path) if feed is None else f"/v1/{{feed}}/{feed[1]}"


def words_of(access: Access) -> str:
    if access.kind != "caller":
        return OF_NO_KIND[access.kind]
    target = f"`{shortened(access.object)}`"
    if access.action:
        needs = f"`{access.action}`" + (f" on {target}" if access.object else "")
    else:
        needs = f"sight of {target}" if access.object else "a token"
    return needs + (", always" if access.always else "")


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.operation)
def test_the_page_says_what_each_route_needs(door: Door) -> None:
    assert rows_of(PAGE).get((door.method, path_on_the_page(door))) == words_of(door.access)


def test_the_page_has_no_route_that_is_not_there() -> None:
    there = {(door.method, path_on_the_page(door)) for door in DOORS}
    rows = rows_of(PAGE)
    assert rows.keys() - there == OUTSIDE_THE_TABLE.keys()
    assert {place: rows[place] for place in OUTSIDE_THE_TABLE} == OUTSIDE_THE_TABLE


@pytest.mark.parametrize("code", sorted(STATUS_BY_CODE))
def test_every_code_stands_in_the_table_of_errors_with_its_status(code: str) -> None:
    table = PAGE.partition("\n## Errors\n")[2].partition("\n## ")[0]
    rows = [row for row in re.findall(r"^\|(.*?)\|(.*?)\|", table, re.M) if f"`{code}`" in row[1]]
    assert rows, "it is not there"
    assert all(str(STATUS_BY_CODE[code]) in status for status, _ in rows)


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_of_the_trail_is_explained(reason: str) -> None:
    assert f"`{reason}`" in PAGE
