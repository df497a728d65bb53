"""`felix-admin cluster` looks: at the right node, and shows what it sees."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server

import click
import pytest
import yaml

from felix.cli.admin import main
from felix.cli.admin.errors import HINTS
from felix.proto.cluster import Operation
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import Internal
from felix.proto.queries import ClusterStatus, GetCluster
from felix.proto.rpc import AnyRequest
from tests.cli.admin_site import ROOT, Site, a_site, closed_port
from tests.support.http_server import serving
from tests.support.local_cluster import LocalCluster, LocalOutsider, addresses_of, identity_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

pytestmark = pytest.mark.slow


@pytest.fixture
def site() -> Iterator[Site]:
    with a_site() as found:
        yield found


# --- looking --------------------------------------------------------------------------------------


def test_status_says_who_leads_who_takes_part_and_what_needs_attention(site: Site) -> None:
    site.cluster.kill("n3")
    shown = site.done("status").stdout
    for line in (
        r"leader    n1, term 3",
        r"log       committed 5,000, catalog version 0",
        r"level     1",
        r"change    none",
        r"alarm     n3 is not heard from",
        r"NAME +ROLE +VOTER +LAG +ACTIVE +LEVEL *",
        r"n1 +leader +yes +0 +yes +1 *",
        r"n3 +follower +yes +0 +no +1 *",
    ):
        assert re.search(f"^{line}$", shown, re.MULTILINE), (line, shown)


def test_the_result_is_also_written_as_json_and_yaml(site: Site) -> None:
    as_json = json.loads(site.done("status -o json").stdout)
    assert as_json["leader_id"] == identity_of("n1")
    assert yaml.safe_load(site.done("status -o yaml").stdout) == as_json
    members = json.loads(site.done("members --output json").stdout)
    assert members == as_json["members"]


def test_members_are_listed_with_identity_and_addresses_on_one_line_each(site: Site) -> None:
    lines = site.done("members").stdout.splitlines()
    found = {line.split()[0]: line.split() for line in lines if line.startswith("n")}
    assert set(found) == {"n1", "n2", "n3"}
    wanted = addresses_of(1)
    assert found["n2"][1:4] == [identity_of("n2"), "follower", wanted.peers]
    assert found["n2"][4:] == [wanted.rpc, wanted.watch, wanted.http, wanted.metrics]


def test_without_a_leader_status_shows_what_there_is_and_ends_with_3(site: Site) -> None:
    site.cluster.has_quorum = False
    result = site.run("status")
    assert result.exit_code == 3
    assert re.search(r"^n2 +follower +yes +- +- +1", result.stdout, re.MULTILINE)
    assert "Try: see that a majority of the voters runs" in result.stderr


def test_a_node_outside_is_told_from_a_cluster_without_a_leader(site: Site) -> None:
    with serving(LocalOutsider("n9", site.cluster.cluster_id)) as alone:
        result = site.run("status", alone)
    assert result.exit_code == 3
    assert re.search("^n9 +outsider +no", result.stdout, re.MULTILINE)
    assert "Try: ask a member of the cluster" in result.stderr


# --- finding a node that answers ------------------------------------------------------------------


def test_the_next_node_is_tried_where_one_does_not_answer(site: Site) -> None:
    dead = closed_port()
    site.done("status", f"{dead},http://{site.endpoint}/")
    site.done("transfer n2", f"{dead} {site.endpoint}")
    site.done(f"status -e {dead} -e {site.endpoint}", "")
    said = site.refused("status", 3, f"{dead},{closed_port()}")
    assert said.count("cannot be reached") == 2
    assert "FELIX_ADMIN_ENDPOINTS" in said


def test_a_node_that_knows_a_leader_is_believed_before_one_that_does_not(site: Site) -> None:
    with serving(LocalOutsider("n9", site.cluster.cluster_id)) as alone:
        assert "leader    n1" in site.done("status", f"{alone},{site.endpoint}").stdout
        site.done("transfer", f"{alone},{site.endpoint}")
        assert "no_leader" in site.refused("transfer", 3, alone)


def website(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Something else that speaks HTTP."""
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def test_what_is_no_control_plane_is_told_from_one(site: Site) -> None:
    with make_server("127.0.0.1", 0, website) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        said = site.refused("status", 3, f"127.0.0.1:{server.server_port}")
        thread.join()
    assert "did not answer as a control plane" in said


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://h:1", "h:0", "h:65536", "h:1/v1"])
def test_an_endpoint_that_is_none_is_a_usage_error(site: Site, endpoint: str) -> None:
    assert "host:port" in site.refused("status", 2, endpoint)


# --- errors ---------------------------------------------------------------------------------------


def test_every_reason_of_the_cluster_has_a_hint() -> None:
    places = ("core/raft/changes.py", "core/raft/transfer.py", "actors/operations.py")
    source = "".join((ROOT / place).read_text() for place in places)
    reasons = set(re.findall(r'refused\(\s*"(\w+)"', source))
    reasons |= set(re.findall(r'return "(\w+)"', source))
    assert len(reasons) > 10
    assert reasons <= HINTS.keys()


def test_every_command_that_a_hint_names_is_there() -> None:
    for words in re.findall(r"felix-admin ([a-z ]+)", " ".join(HINTS.values())):
        name, *more = words.split()
        command = main.commands[name]
        assert not isinstance(command, click.Group) or more[0] in command.commands, words


class Rude(LocalCluster):
    """Says things that a terminal would obey."""

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Ask. Raises: Internal for every operation."""
        if isinstance(message, Operation):
            raise Internal("\x1b[2Jgone")
        answered = super().ask(message, call)
        if isinstance(message, GetCluster):
            assert isinstance(answered.result, ClusterStatus)
            answered.result.alarms.append("\x1b]0;owned\x07")
        return answered


def test_what_others_say_cannot_move_the_cursor() -> None:
    cluster = Rude("n1", "\x1b[31mn2")
    with serving(cluster) as endpoint:
        site = Site(cluster, endpoint)
        said = site.done("status").stdout + site.done("members").stdout
        said += site.refused("transfer", 3)
    assert "\x1b" not in said
    assert "?[31mn2" in said
    assert "?]0;owned?" in said
