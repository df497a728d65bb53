"""`felix-admin audit` on a real HTTP server."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import falcon
import pytest
import yaml
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.http import errors
from felix.http.audit import Audit
from felix.http.desk import Desk
from felix.http.middleware import RequestId
from felix.http.settings import HttpSettings
from felix.identity.caller import Caller
from felix.identity.gatekeeper import Gatekeeper
from felix.identity.settings import IdentitySettings
from felix.proto.commands import CreateTenant, RecordRefusals
from felix.proto.control_plane import Call
from felix.proto.identity import Refusal
from felix.proto.permissions import read_permission
from tests.cli.admin_page import AUDIT_COMMANDS
from tests.cli.admin_page import run as run_line
from tests.support.catalog_log import NOON_MS
from tests.support.local_control_plane import LocalControlPlane

pytestmark = pytest.mark.slow


class AsOperator:
    """Middleware: whoever comes may look at the cluster."""

    def process_resource(self, req: falcon.Request, *_: object) -> None:
        """Say so."""
        permission = read_permission("cluster.view:cluster:*")
        assert permission is not None
        req.context.caller = Caller(kind="token", principal="ops", permissions=(permission,))


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Serve a trail of 302 records until the test ends."""
    plane = LocalControlPlane()
    plane.ask(CreateTenant(tenant_id="acme"), Call(principal="alice", source="10.0.0.1"))
    refusal = Refusal(
        time_ms=NOON_MS,
        operation="ExchangeToken",
        code="unauthorized",
        reason="expired \x1b[31m",
        tenant_id="acme",
        request_id="r-1",
        count=7,
    )
    for count in (100, 100, 100, 1):
        plane.ask(RecordRefusals(node="n1", refusals=(refusal,) * count))
    app: falcon.App[falcon.Request, falcon.Response] = falcon.App(
        middleware=[RequestId(), AsOperator()]
    )
    errors.install(app)
    app.add_route(
        "/v1/audit", Audit(Desk(plane, HttpSettings(), Gatekeeper(plane, IdentitySettings())))
    )
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def done(endpoint: str, *arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, ["audit", *map(str, arguments), "-e", endpoint])
    assert result.exit_code == 0, result.output
    return result


def test_a_table_shows_who_did_what_and_the_head(endpoint: str) -> None:
    said = done(endpoint, "list", "--operation", "CreateTenant").stdout
    line = next(line for line in said.splitlines() if "CreateTenant" in line)
    for word in ("acme/tenant:acme", "alice", "10.0.0.1", "success"):
        assert word in line
    assert "head      302:" in said
    said = done(endpoint, "list", "--request-id", "r-1", "--limit", "2").stdout
    assert "ExchangeToken (7 times)" in said
    assert "unauthorized: expired ?[31m" in said
    assert "older     --before 301" in said


def test_json_and_yaml_are_the_page_itself(endpoint: str) -> None:
    page = json.loads(done(endpoint, "list", "-o", "json", "--limit", "3").stdout)
    assert [one["sequence"] for one in page["items"]] == [302, 301, 300]
    assert page["items"][0]["tenant"] == "acme"
    older = yaml.safe_load(done(endpoint, "list", "-o", "yaml", "--before", "3").stdout)
    assert [one["sequence"] for one in older["items"]] == [2, 1]


def test_a_search_that_finds_nothing_says_so_with_an_empty_table(endpoint: str) -> None:
    page = json.loads(done(endpoint, "list", "-o", "json", "--tenant", "nobody").stdout)
    assert (page["items"], page["next_before"]) == ([], 0)


def test_what_is_no_time_is_refused(endpoint: str) -> None:
    arguments = ["audit", "list", "--from", "yesterday", "-e", endpoint]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "2026-01-31T12:00:00Z" in result.stderr


def test_what_is_exported_is_intact_up_to_the_head_that_was_said(
    endpoint: str, tmp_path: Path
) -> None:
    path = tmp_path / "trail.jsonl"
    said = done(endpoint, "export", "--out", path).stdout
    assert "written   302" in said
    head = said.split("head")[1].strip()
    verified = CliRunner().invoke(main, ["audit", "verify", str(path), "--head", head])
    assert verified.exit_code == 0, verified.output
    assert path.stat().st_mode & 0o077 == 0
    assert "written   0" in done(endpoint, "export", "--out", path).stdout


def test_a_place_that_cannot_be_written_is_a_usage_error(endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "trail.jsonl"
    result = CliRunner().invoke(main, ["audit", "export", "--out", str(path), "-e", endpoint])
    assert result.exit_code == 2
    assert "cannot be" not in result.stdout
    assert "Try: name a file" in result.stderr


def test_every_command_of_the_page_works(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"FELIX_ADMIN_ENDPOINTS": endpoint})
    assert len(AUDIT_COMMANDS) == 5
    *before, with_head = AUDIT_COMMANDS
    shown = [run_line(line, {}, runner) for line in before]
    assert "intact" in shown[-1]
    (head,) = re.findall(r"head +(\d+:[0-9a-f]{64})", shown[-1])
    assert head in shown[-2]
    places = {with_head.rpartition(" ")[2]: head}
    assert "intact" in run_line(with_head, places, runner)
