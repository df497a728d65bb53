"""`docs/runbooks.md` is read at night: all that it names is there, by these very names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from felix.actors.ending import EXIT_ACTOR_FAILED, EXIT_STALLED
from felix.cli.admin.errors import HINTS
from felix.cli.config_loading import known_keys
from felix.cli.options import EXIT_CONFIG, EXIT_START
from felix.cli.serve import EXIT_REMOVED
from felix.http.errors import STATUS_BY_CODE
from felix.http.identity_routes import BOOTSTRAP
from felix.http.openapi import openapi
from felix.http.routes import ROUTES
from felix.proto.levels import EXIT_TOO_OLD
from tests.metrics.metrics_page import SHOWN

PAGE: Final = (Path(__file__).parents[2] / "docs" / "runbooks.md").read_text(encoding="utf-8")
CODES: Final = re.findall(r"`([^`\n]+)`", PAGE)
METRICS: Final = {family.name for section in SHOWN for family in section.families}
DOCUMENT: Final = json.dumps(openapi((*ROUTES, BOOTSTRAP), ""))
REASONS: Final = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
REQUEST: Final = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (\S+)")
EXITS: Final = {
    0,
    EXIT_CONFIG,
    EXIT_START,
    EXIT_ACTOR_FAILED,
    EXIT_STALLED,
    EXIT_TOO_OLD,
    EXIT_REMOVED,
}


def shape(path: str) -> str:
    """Write a path with its parameters alike."""
    return re.sub(r"\{[^}]*\}", "{}", path.partition("?")[0])


def test_every_metric_is_one_that_nodes_show() -> None:
    named = {code.partition("{")[0] for code in CODES if code.startswith("felix_")}
    assert named
    assert named - METRICS == set()


def test_every_request_is_a_route() -> None:
    routes = {(one.method, shape(one.path)) for one in ROUTES}
    named = [found.groups() for code in CODES if (found := REQUEST.fullmatch(code))]
    assert len(named) > 5
    for method, path in named:
        start, end = ("", shape(path)) if path[0] == "/" else ("/", shape(path.lstrip("…")))
        assert any(
            one == method and (there == end if not start else there.endswith(end))
            for one, there in routes
        ), (method, path)


def test_every_key_of_the_configuration_is_one() -> None:
    sections = {key.partition(".")[0] for key in known_keys() if "." in key}
    named = {code for code in CODES if re.fullmatch(rf"({'|'.join(sections)})\.\w+", code)}
    assert named
    assert named - known_keys().keys() == set()


@pytest.mark.parametrize(
    "word", sorted({one for one in CODES if re.fullmatch("[a-z]+(_[a-z]+)+", one)})
)
def test_every_word_is_a_code_or_a_reason_or_a_key_or_a_member_of_an_answer(word: str) -> None:
    known = STATUS_BY_CODE.keys() | HINTS.keys() | known_keys().keys() | METRICS
    assert (
        word in known
        or f'"{word}"' in DOCUMENT
        or f"/{word}" in DOCUMENT
        or re.search(rf"^\|[^|]*`{word}`", REASONS, re.MULTILINE)
    )


def test_every_status_of_a_code_is_that_of_the_table() -> None:
    named = re.findall(r"`([a-z_]+)` \((\d{3})\)", PAGE)
    named += [(code, status) for status, code in re.findall(r"\b([45]\d\d) `([a-z_]+)`", PAGE)]
    assert len(named) > 3
    assert [one for one in named if STATUS_BY_CODE[one[0]] != int(one[1])] == []


def test_the_exit_codes_of_a_node_are_all_there_and_no_others() -> None:
    table = PAGE.partition("exit code | it means")[2].partition("<a id=")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == EXITS
    elsewhere = {int(code) for code in re.findall(r"[Ee]xit code:? (\d+)", PAGE)}
    assert elsewhere - EXITS == set()


def test_every_runbook_is_in_the_table_that_says_where_to_go() -> None:
    anchors = set(re.findall(r'<a id="([\w-]+)">', PAGE))
    first = PAGE.partition("| what is seen |")[2].partition("<a id=")[0]
    assert set(re.findall(r"\]\(#([\w-]+)\)", first)) == anchors - {"exit-codes"}


def test_every_runbook_says_what_is_seen_and_when_it_is_over() -> None:
    for text in PAGE.split("\n## ")[1:]:
        assert "**Over**" in text, text.splitlines()[0]
