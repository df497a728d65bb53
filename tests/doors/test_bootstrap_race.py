"""Bootstrap happens once, whoever asks wherever at the same time (contract, chapter 15, C10)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.support.dev_site import Site
from tests.support.idp_server import IdpServer

CALLS = 50


def test_c10_of_fifty_calls_at_once_over_three_nodes_one_wins_and_the_rest_get_409(
    site: Site, idp: IdpServer
) -> None:
    tenant = site.new_name("raced")
    admins = [f"admin-{number}" for number in range(CALLS)]
    with ThreadPoolExecutor(CALLS) as pool:
        calls = [
            pool.submit(site.bootstrap, tenant, idp, admin, node=number % 3)
            for number, admin in enumerate(admins)
        ]
        answers = [call.result() for call in calls]
    assert sorted(answer.status for answer in answers) == [200] + [409] * (CALLS - 1)
    assert {answer.code for answer in answers if answer.status != 200} == {
        (409, "already_initialized")
    }
    winner = admins[[answer.status for answer in answers].index(200)]
    token = site.token(idp, winner, tenant)
    others = [site.exchange(idp.token(one), tenant).status for one in admins if one != winner]
    assert set(others) == {403}
    keys = site.ask("GET", f"/v1/tenants/{tenant}/signing-keys", token=token).json["items"]
    assert [one["state"] for one in keys] == ["active"]
    assignments = site.ask("GET", f"/v1/tenants/{tenant}/rbac/groupings", token=token).json
    assert len(assignments) == 1
