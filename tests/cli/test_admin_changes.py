"""`felix-admin cluster` adds, removes and hands over, and shows how far that is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from felix.cli.admin.errors import HINTS
from felix.proto.cluster import AddMember, Operation, RemoveMember, TransferLeadership
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import MembershipRefused, NoLeader, OutcomeUnknown
from felix.proto.queries import GetCluster
from felix.proto.rpc import AnyRequest
from tests.cli.admin_site import Site, a_site, closed_port, on_a_terminal
from tests.support.http_server import serving
from tests.support.local_cluster import LocalCluster, LocalOutsider, addresses_of, identity_of

pytestmark = pytest.mark.slow


@pytest.fixture
def site() -> Iterator[Site]:
    with a_site() as found:
        yield found


class Forgetful:
    """Does what it is asked for, or not, and then cannot say so."""

    def __init__(self, inner: LocalCluster, *, does_it: bool = True) -> None:
        self.asked = 0
        self._inner = inner
        self._does_it = does_it

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Ask. Raises: OutcomeUnknown for every operation."""
        if not isinstance(message, Operation):
            return self._inner.ask(message, call)
        self.asked += 1
        if self._does_it:
            self._inner.ask(message, call)
        raise OutcomeUnknown("leadership was lost")


# --- adding ---------------------------------------------------------------------------------------


def test_a_new_node_is_asked_who_it_is_taken_in_and_watched_until_it_votes(site: Site) -> None:
    newcomer = LocalOutsider("n4", site.cluster.cluster_id, level=2)
    with serving(newcomer) as node:
        result = site.done(f"add n4 --node {node} -o json")
    said = result.stderr.splitlines()
    assert said == [
        "n4 is 300 entries behind the leader",
        "n4 keeps up and will soon be a voter",
        "n4 is becoming a voter",
        "n4 is a voter",
    ]
    (member,) = [one for one in json.loads(result.stdout)["members"] if one["name"] == "n4"]
    assert (member["id"], member["voter"], member["level"]) == (newcomer.id, True, 2)
    wanted = addresses_of(9)
    assert member["addresses"] == {name: getattr(wanted, name) for name in member["addresses"]}


def test_a_new_node_may_be_described_by_hand_and_waited_for_later(site: Site) -> None:
    told = f"--id {identity_of('x')} --peers h:1 --rpc h:2 --watch h:3 --http h:4 --metrics h:5"
    result = site.done(f"add n4 {told} --level 2 --no-wait -o json")
    assert result.stderr == ""
    (member,) = [one for one in json.loads(result.stdout)["members"] if one["name"] == "n4"]
    assert (member["role"], member["level"]) == ("learner", 2)
    assert list(member["addresses"].values()) == ["h:1", "h:2", "h:3", "h:4", "h:5"]
    assert "n4 is a voter" in site.done(f"add n4 {told}").stderr


def test_a_dead_member_is_replaced_by_a_node_of_its_name(site: Site) -> None:
    with serving(LocalOutsider("n3", site.cluster.cluster_id)) as node:
        assert "felix-admin cluster remove" in site.refused(f"add n3 --node {node} --replace", 1)
        site.cluster.kill("n3")
        assert "--replace" in site.refused(f"add n3 --node {node}", 1)
        started = site.done(f"add n3 --node {node} --replace --no-wait").stdout
        assert re.search(rf"^n3 +learner .* replaces n3 {identity_of('n3')[:8]}", started, re.M)
        site.done(f"add n3 --node {node} --replace")
    assert site.names == ["n1", "n2", "n3"]
    assert identity_of("n3") not in site.cluster.membership.voters


def test_a_node_that_is_not_the_one_that_is_meant_is_not_taken_in(site: Site) -> None:
    with serving(LocalOutsider("n4", site.cluster.cluster_id)) as node:
        assert f"cluster add n4 --node {node}" in site.refused(f"add n5 --node {node}", 2)
    with serving(LocalOutsider("n4", "f" * 32)) as node:
        assert "cluster.name" in site.refused(f"add n4 --node {node}", 1)
    said = site.refused(f"add n4 --node {closed_port()}", 3)
    assert "start the new node first" in said
    assert site.names == ["n1", "n2", "n3"]


@pytest.mark.parametrize(
    "options",
    ["", "--id 00", "--id 00 --peers h:1", "--node h:1 --peers h:1", "--node h:1 --level 1",
     "--node nonsense"],
)  # fmt: skip
def test_an_add_that_does_not_say_who_is_a_usage_error(site: Site, options: str) -> None:
    site.refused(f"add n4 {options}", 2)


def test_values_that_the_cluster_refuses_are_named(site: Site) -> None:
    said = site.refused("add n4 --id 00 --peers h:1 --rpc h:2", 1)
    assert "/member_id" in said


def test_waiting_for_a_learner_that_never_catches_up_ends_with_4(site: Site) -> None:
    with (
        serving(LocalCluster("n1", learner_lag=70, catch_up=0)) as endpoint,
        serving(LocalOutsider("n4", site.cluster.cluster_id)) as node,
    ):
        said = site.refused(f"add n4 --node {node} --timeout 0.3", 4, endpoint)
    assert "goes on without this command: n4 is 70 entries behind" in said


def test_an_add_whose_outcome_is_unknown_is_asked_once_and_may_be_run_again(site: Site) -> None:
    plane = Forgetful(site.cluster)
    told = f"add n4 --id {identity_of('x')} --peers h:1 --rpc h:2"
    with serving(plane) as endpoint:
        said = site.refused(told, 3, f"{endpoint},{endpoint}")
    assert "run the same again" in said
    assert plane.asked == 1
    site.done(told)


def test_an_add_that_is_repeated_in_the_middle_of_the_change_goes_on_watching(site: Site) -> None:
    told = f"add n4 --id {identity_of('x')} --peers h:1 --rpc h:2"
    site.done(told + " --no-wait")
    while not site.cluster.membership.outgoing:
        site.cluster.ask(GetCluster())
    site.cluster.time_passes = False
    with pytest.raises(MembershipRefused):
        site.cluster.ask(RemoveMember(member="n3"))
    assert "n4 is becoming a voter" in site.refused(told + " --timeout 0.3", 4)
    site.cluster.time_passes = True
    assert "n4 is a voter" in site.done(told).stderr
    assert HINTS["name_differs"] in site.refused(told.replace("n4", "n5"), 1)


# --- removing -------------------------------------------------------------------------------------


def test_a_member_leaves_for_good_by_name_or_identity_also_the_leader(site: Site) -> None:
    result = site.done("remove n3 --yes")
    assert result.stderr.splitlines() == ["asking the leader to let n3 leave", "n3 has left"]
    assert site.names == ["n1", "n2"]
    assert "leader    n2" in site.done(f"remove {identity_of('n1')} --yes").stdout
    assert "add another member first" in site.refused("remove n2 --yes", 1)


def test_without_a_terminal_removing_needs_a_yes(site: Site) -> None:
    assert "remove n3 --yes" in site.refused("remove n3", 2)
    assert site.names == ["n1", "n2", "n3"]


def test_who_is_to_leave_must_be_one_and_only_one(site: Site) -> None:
    assert "these are: n1, n2, n3" in site.refused("remove n7 --yes", 1)
    site.cluster.kill("n3")
    site.cluster.ask(
        AddMember(member_id=identity_of("x"), name="n3", addresses=addresses_of(7), replace=True)
    )
    said = site.refused("remove n3 --yes", 1)
    assert "2 members are called n3" in said
    assert f"{identity_of('x')} (learner)" in said


def test_a_removal_that_would_cost_the_quorum_is_refused(site: Site) -> None:
    site.cluster.kill("n3")
    assert HINTS["would_lose_quorum"] in site.refused("remove n2 --yes", 1)


def test_a_removal_whose_answer_is_lost_is_watched_until_it_is_done(site: Site) -> None:
    with serving(Forgetful(site.cluster)) as endpoint:
        said = site.done("remove n3 --yes", endpoint).stderr
        assert "the answer was lost" in said
        assert "n3 has left" in said
    with serving(Forgetful(site.cluster, does_it=False)) as endpoint:
        site.refused("remove n2 --yes --timeout 0.3", 4, endpoint)
        said = site.refused("remove n2 --yes --no-wait", 3, endpoint)
    assert "see whether it was done: felix-admin cluster status" in said


# --- leadership -----------------------------------------------------------------------------------


def test_leadership_is_handed_over_to_the_one_named_or_to_any(site: Site) -> None:
    assert "leader    n3, term 4" in site.done("transfer n3").stdout
    assert "leader    n1, term 5" in site.done("transfer n1").stdout
    assert re.search("leader    n[23], term 6", site.done("transfer").stdout)
    site.done("transfer n1")
    assert "leader    n2" in site.done(f"transfer {identity_of('n2')}").stdout
    assert HINTS["not_found"] in site.refused("transfer n7", 1)
    site.cluster.kill("n3")
    assert HINTS["not_alive"] in site.refused("transfer n3", 1)


def test_after_a_transfer_the_new_leader_is_asked_and_need_not_answer(site: Site) -> None:
    asked: list[AnyRequest] = []
    with serving(Silent(site.cluster, asked)) as endpoint:
        assert "leader    n2" in site.done("transfer n2", endpoint).stdout
    assert [type(one) for one in asked] == [TransferLeadership, GetCluster]


class Silent:
    """Carries out operations, and does not answer when it is looked at."""

    def __init__(self, inner: LocalCluster, asked: list[AnyRequest]) -> None:
        self._inner = inner
        self._asked = asked

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Ask. Raises: NoLeader for a look."""
        self._asked.append(message)
        if isinstance(message, GetCluster):
            raise NoLeader("just now there is none")
        return self._inner.ask(message, call)


# --- on a terminal --------------------------------------------------------------------------------


def test_on_a_terminal_removing_asks_and_shows_what_would_be_left(
    site: Site, tmp_path: Path
) -> None:
    result = tmp_path / "result"
    code, shown = on_a_terminal(site, "remove n3", "n\n", result)
    assert code == 1
    assert f"n3 (follower, {identity_of('n3')}) leaves for good." in shown
    assert "2 voters stay, 2 of them active, 2 needed. Go on? [y/N]" in shown
    assert site.names == ["n1", "n2", "n3"]
    code, shown = on_a_terminal(site, "remove n3", "y\n", result)
    assert code == 0, shown
    assert "n3 has left" in shown
    assert site.names == ["n1", "n2"]


def test_on_a_terminal_progress_moves_in_place_and_keeps_out_of_the_result(
    site: Site, tmp_path: Path
) -> None:
    result = tmp_path / "result"
    with serving(LocalOutsider("n4", site.cluster.cluster_id)) as node:
        code, shown = on_a_terminal(site, f"add n4 --node {node} -o json", "", result)
    assert code == 0, shown
    assert "n4 is 300 entries behind the leader" in shown
    assert "\x1b[2K" in shown, "a line is written over"
    assert "━" in shown, "a bar"
    assert shown.rstrip().endswith("n4 is a voter")
    assert len(json.loads(result.read_bytes())["members"]) == 4
