"""A cluster whose doors are all closed grows: with a token, and with keys on every socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.cli.config import AuthConfig, RaftTimings
from felix.identity.principals import principal_id
from felix.proto.commands import BootstrapTenant, NewIssuer
from felix.proto.permissions import OPERATOR_TENANT
from felix.transport.rpc_client import RpcClient
from tests.cluster.test_admin import outsider_of
from tests.support.cluster import Cluster, RunningNode, cluster
from tests.support.idp_server import IdpServer, idp_server
from tests.support.keys import KeyRing
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

AUDIENCE = "felix-controlplane"
CLOSED = AuthConfig(idp_private_addresses=True)
QUICK = RaftTimings(promote_after_ms=500)


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path)


@pytest.fixture
def closed(keys: KeyRing) -> Iterator[Cluster]:
    with cluster(http=True, raft=QUICK, keys=keys, auth=CLOSED) as running:
        yield running


@pytest.fixture
def token(closed: Cluster, keys: KeyRing, tmp_path: Path) -> Iterator[str]:
    """A file with the token of an operator."""
    with idp_server() as idp:
        path = tmp_path / "token"
        path.write_text(operator_token(closed.nodes[0], keys, idp))
        yield str(path)


def operator_token(node: RunningNode, keys: KeyRing, idp: IdpServer) -> str:
    """Make the first operator as the bootstrap listener does, and trade a token in for theirs."""
    issuer = NewIssuer(issuer=idp.issuer, audiences=(AUDIENCE,))
    admins = (principal_id(idp.issuer, "olga"),)
    with closing(RpcClient(node.rpc, curve=keys.client(node.name, [node]))) as client:
        client.ask(
            BootstrapTenant(
                tenant_id=OPERATOR_TENANT,
                display_name="Operators",
                issuers=(issuer,),
                admins=admins,
            )
        )
    bearer = {"Authorization": f"Bearer {idp.token('olga', audience=AUDIENCE)}"}
    found: list[str] = []

    def is_exchanged() -> bool:
        """Not before this node has heard what the leader has committed."""
        answer = node.http("POST", f"/v1/tenants/{OPERATOR_TENANT}/token/exchange", {}, bearer)
        found.append(answer.json().get("felix_token", ""))
        return answer.status == 200

    eventually(is_exchanged, 20)
    return found[-1]


def admin(closed: Cluster, command: str, token: str = "") -> Result:
    """Run `felix-admin cluster ...`."""
    endpoints = " ".join(node.config.listen.http for node in closed.nodes[:3])
    env = {"FELIX_ADMIN_ENDPOINTS": endpoints, "FELIX_ADMIN_TOKEN_FILE": token or None}
    return CliRunner(env=env).invoke(main, ["cluster", *command.split(), "-o", "json"])


def itself(node: RunningNode) -> dict[str, Any]:
    """What a node says of itself to everybody; nothing while its HTTP API is not up."""
    try:
        answer = node.http("GET", "/v1/system/node")
    except urllib3.exceptions.HTTPError:
        return {}
    found: dict[str, Any] = answer.json() if answer.status == 200 else {}
    return found


def test_a_node_is_taken_in_and_leaves_where_every_door_is_closed(
    closed: Cluster, keys: KeyRing, token: str
) -> None:
    node = outsider_of(closed, "n4", keys)
    eventually(lambda: itself(node).get("addresses") is not None, 60)
    add = f"add n4 --node {node.config.listen.http}"
    assert node.http("GET", "/v1/cluster").status in {401, 503}
    refused = admin(closed, add)
    assert refused.exit_code == 1
    assert "(unauthorized)" in refused.stderr

    added = admin(closed, add, token)
    assert added.exit_code == 0, added.output
    assert "n4 is a voter" in added.stderr
    (member,) = [one for one in json.loads(added.stdout)["members"] if one["name"] == "n4"]
    assert (member["id"], member["voter"]) == (node.id, True)
    closed.wait_converged()
    eventually(lambda: itself(node).get("addresses", "") is None)
    again = admin(closed, add, token)
    assert (again.exit_code, again.stderr) == (0, "n4 is a voter\n")

    gone = admin(closed, "remove n4 --yes", token)
    assert gone.exit_code == 0, gone.output
    assert node.wait() != 0
    closed.nodes.remove(node)
    node.kill()


def test_a_node_that_a_cluster_has_taken_in_tells_a_stranger_its_name_and_no_more(
    closed: Cluster,
) -> None:
    for node in closed.nodes:
        assert itself(node) == {
            "cluster_id": closed.leader().config.new_cluster_id,
            "node_id": node.id,
            "name": node.name,
            "level": 1,
            "addresses": None,
        }
        assert node.http("GET", "/v1/cluster").status == 401
