"""The dashboard of a real cluster in a real browser: what operators see, and when it goes wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.dashboard.chromium import Page
from tests.dashboard.running import BROKERS, NODES, Scene, scene
from tests.dashboard.screens import keep
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def felix() -> Iterator[Scene]:
    with scene() as found:
        yield found


def test_nobody_sees_anything_without_signing_in_and_is_told_how(page: Page, felix: Scene) -> None:
    felix.visit(page, "brokers")
    page.shows("With a Felix token")
    assert "broker-1" not in page.text()
    keep(page, "sign-in")
    page.fill("#felix-token", "no token")
    page.click("#by-token button")
    page.shows("This is no Felix token", "#sign-in-fault")
    page.fill("#felix-token", felix.identity(subject="bob"))
    page.click("#by-token button")
    page.shows("exchange it with the other form", "#sign-in-fault")


def test_the_sign_in_asks_once_for_who_has_no_token_and_then_no_more(
    page: Page, felix: Scene
) -> None:
    """Every refusal stands in the audit trail."""
    felix.visit(page)
    page.shows("With a Felix token")
    begun = page.js("performance.now()")
    eventually(lambda: page.js("performance.now()") > begun + 5000, 30)
    assert [url for url in page.requests if "/v1/" in url] == [
        f"http://{felix.nodes[0].http}/v1/cluster?consistency=stale"
    ]


def test_a_token_that_is_not_taken_is_said_to_be_so(page: Page, felix: Scene) -> None:
    felix.visit(page)
    page.shows("With a Felix token")
    head, claims, _ = felix.operator.split(".")
    page.fill("#felix-token", f"{head}.{claims}.AAAA")
    page.click("#by-token button")
    page.shows("The node did not take the token")
    assert page.js("sessionStorage.length") == 0


def test_the_cluster_is_shown_from_any_node_with_its_leader_and_the_age_of_it_all(
    page: Page, felix: Scene
) -> None:
    for node in range(NODES):
        felix.sign_in(page, "cluster", node)
        page.shows(f"seen through {felix.nodes[node].name}, at most", "#pulse")
        page.shows(felix.leader().name, "#pulse")
        page.shows("heard from", "main table")
        for one in felix.nodes:
            assert one.http in page.text("main table")
    keep(page, "cluster")


def test_commits_appear_in_the_chart_and_in_its_table(page: Page, felix: Scene) -> None:
    felix.sign_in(page, "cluster")
    page.shows("commits in 10 min", ".chart")
    drawn = page.js(
        "document.querySelector('.line.usual').getAttribute('d').length + "
        "document.querySelector('.dots.usual').getAttribute('d').length"
    )
    assert drawn > 10
    page.click("text=As a table")
    page.shows("Slowest, ms", ".chart table")
    begun = page.js("performance.now()")
    eventually(lambda: page.js("performance.now()") > begun + 4500, 30)
    assert page.text(".chart table"), "what was unfolded stays so when the page renews itself"


def test_brokers_are_shown_with_health_zone_and_why_they_get_nothing(
    page: Page, felix: Scene
) -> None:
    felix.sign_in(page, "brokers")
    page.shows(f"{BROKERS} brokers")
    page.shows("healthy", "main table")
    assert "zone-c" in page.text("main table")
    keep(page, "brokers")
    felix.call("POST", "/v1/brokers/broker-4/drain")
    try:
        page.shows("draining", "main table")
        page.js("location.hash = '#/moves'")
        page.shows("drain", "main")
        keep(page, "moves")
        page.js("location.hash = '#/brokers?status=drained'")
        page.shows("drained", "main table")
        assert "broker-1" not in page.text("main table")
        page.shows("it is to be empty", "main table")
        keep(page, "brokers-drained")
    finally:
        felix.call("DELETE", "/v1/brokers/broker-4/drain")


def test_streams_are_mapped_over_brokers_and_zones_and_told_one_by_one(
    page: Page, felix: Scene
) -> None:
    felix.sign_in(page, "streams")
    page.shows("Who holds the shards")
    zones = page.js("[...document.querySelectorAll('.zone h3')].map((one) => one.innerText)")
    assert zones == ["zone-a", "zone-b", "zone-c"]
    keep(page, "streams")
    page.point("canvas[data-broker=broker-1]", 4, 4)
    page.shows(", shard ", "#pointed")
    page.click("text=acme/billing/orders-3")
    page.shows("Other copies", "#detail")
    page.shows("durable", "#detail")
    keep(page, "stream")
    page.press("Escape")
    eventually(lambda: not page.js("document.querySelector('#detail').open"))
    page.choose("#broker", "broker-2")
    page.shows("broker-2", ".boxes")
    assert "broker-1" not in page.text(".zone")
    page.fill("#name", "orders-5")
    page.shows("1 of 6 placed streams")


def test_changes_come_in_as_they_happen_and_can_be_held_back(page: Page, felix: Scene) -> None:
    felix.sign_in(page, "changes")
    page.shows("acme/billing/orders-0", "main table")
    felix.stream("live-1")
    page.shows("acme/billing/live-1", "main table")
    page.shows("live-1", "#announcer")
    keep(page, "changes")
    page.click("text=Pause")
    page.shows("Go on")
    felix.stream("live-2")
    page.shows("held back", "main")
    eventually(lambda: "0 changes held back" not in page.text())
    assert "live-2" not in page.text("main table")
    page.click("text=Go on")
    page.shows("acme/billing/live-2", "main table")


def test_the_map_follows_what_happens_without_being_read_anew(page: Page, felix: Scene) -> None:
    felix.sign_in(page, "streams")
    page.shows("placed streams", "main")
    felix.stream("followed")
    page.shows("acme/billing/followed", "main table")
    assert len([url for url in page.requests if "/v1/placements?" in url]) == 1


def test_the_audit_trail_is_shown_filtered_and_paged(page: Page, felix: Scene) -> None:
    felix.sign_in(page, "audit")
    page.shows("CreateStream", "main table")
    keep(page, "audit")
    page.choose("#result", "unauthorized")
    page.shows("GetCluster", "main table")
    eventually(lambda: "success" not in page.text("main tbody"), 20)


def test_a_token_of_a_tenant_is_told_what_it_lacks(page: Page, felix: Scene) -> None:
    felix.visit(page, "brokers")
    page.shows("With a Felix token")
    page.fill("#felix-token", felix.ready.tenant_token)
    page.click("#by-token button")
    page.shows("cluster.view on cluster:*", "main")
    page.shows("403", "main")
    keep(page, "forbidden")
    asked = len(page.requests)
    begun = page.js("performance.now()")
    eventually(lambda: page.js("performance.now()") > begun + 5000, 30)
    assert page.requests[asked:] == [], "what is refused once is not asked again"


def test_a_token_of_an_identity_provider_is_exchanged_and_renewed(page: Page, felix: Scene) -> None:
    felix.visit(page)
    page.shows("With your identity provider")
    page.fill("#idp-token", felix.identity(subject="stranger"))
    page.click("#by-exchange button")
    page.shows("no rule gives you anything", "#sign-in-fault")
    page.fill("#tenant", felix.ready.tenant)
    page.click("#by-exchange button")
    page.shows("no rule gives you anything", "#sign-in-fault")
    policy = {"subject": "group:watchers", "object": "cluster:*", "action": "cluster.view"}
    felix.call("POST", "/v1/tenants/felix-operators/rbac/policies", policy)
    page.fill("#tenant", "felix-operators")
    page.fill("#idp-token", felix.identity(subject="wendy", groups="watchers"))
    page.click("#by-exchange button")
    page.shows("renewed by itself", "#who")
    page.shows("heard from", "main table")
    for passed_ms in (720_000, 150_000):  # of 15 minutes, and of what is left of them then
        page.js(f"(() => {{ const now = Date.now; Date.now = () => now() + {passed_ms}; }})()")
        asked = len(page.requests)
        eventually(lambda asked=asked: any("refresh" in one for one in page.requests[asked:]), 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    asked = len(page.requests)
    eventually(lambda: len(page.requests) > asked + 4, 30)
    assert not any("refresh" in one for one in page.requests[asked:])
    assert "renewed by itself" in page.text("#who"), "the session has not ended"


def test_tokens_are_in_no_address_and_nobody_else_is_asked(page: Page, felix: Scene) -> None:
    felix.sign_in(page)
    for view in ("brokers", "streams", "moves", "changes", "audit"):
        page.js(f"location.hash = '#/{view}'")
        page.shows(view.title(), "h1")
        eventually(lambda: page.js("document.querySelectorAll('main table').length > 0"), 30)
    assert all(url.startswith(f"http://{felix.nodes[0].http}/") for url in page.requests)
    assert not any(part in url for url in page.requests for part in felix.operator.split("."))
    assert felix.operator not in page.js("location.href")
    assert page.js("document.cookie") == ""
    assert page.js("localStorage.length") == 0
    felix.visit(page, "brokers")
    page.shows("Sign out", "#who")
    page.click("text=Sign out")
    page.shows("With a Felix token")
    assert page.js("sessionStorage.length") == 0


def test_without_a_leader_it_shows_what_the_node_knew_and_how_old_that_is(
    page: Page, felix: Scene
) -> None:
    felix.sign_in(page, "cluster", node=2)
    page.shows("Commit latency")
    with felix.paused(*felix.nodes[:2]):
        page.shows("No leader: nothing can be changed now", "#pulse", 60)
        page.shows("There is no leader.", "#announcer")
        page.shows("node-3 knew, at most", "#pulse")
        eventually(lambda: " s old" in page.text("#age"), 60)
        page.shows("not known", "main table")
        keep(page, "no-leader")
        page.js("location.hash = '#/brokers'")
        page.shows("only the leader hears", "main", 60)
        page.shows("broker-1", "main table")
        page.js("location.hash = '#/streams'")
        page.shows("acme/billing/orders-0", "main table", 60)
        page.js("location.hash = '#/moves'")
        page.shows("only the leader knows", "main", 60)
        page.js("location.hash = '#/audit'")
        page.shows("CreateStream", "main table", 60)
    eventually(lambda: " ms old" in page.text("#age"), 60)
    page.shows("leads.", "#announcer", 60)


def test_a_node_that_dies_leaves_what_was_shown_and_says_so(page: Page, felix: Scene) -> None:
    felix.sign_in(page, "brokers", node=2)
    page.shows("broker-1", "main table")
    os.kill(felix.nodes[2].pid, signal.SIGKILL)
    page.shows("This node does not answer", "#pulse", 60)
    page.shows("Other nodes have the same page.", "#pulse")
    assert "broker-1" in page.text("main table")
    keep(page, "node-gone")
