"""Encrypted clusters of real processes: who gets in, who does not, and who is hung up on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from felix.actors.ending import EXIT_ACTOR_FAILED
from felix.cli.backup import EXIT_NOT_FETCHED
from felix.cli.options import EXIT_START
from felix.cli.server import main
from felix.proto.commands import CreateTenant, DeleteTenant, RecordRefusals, UpdateTenant
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError, Forbidden, NoLeader, Unauthorized, ValidationFailed
from felix.proto.identity import AuditPage, AuditRecord
from felix.proto.queries import GetAudit, GetCluster, GetTenant, GetTenantIdentity
from felix.proto.rpc import AnyRequest
from felix.transport.curve import ClientCurve
from felix.transport.rpc_client import RpcClient
from tests.cluster.follower import Follower
from tests.support.cluster import HOST, TENANT, Cluster, RunningNode, cluster, make_configs
from tests.support.guardless_node import FAILS, STOPS
from tests.support.keys import KeyRing, write_secret
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BRIEFLY = Call(timeout_s=0.5, consistency="stale")
FAILURES = 'felix_zmq_handshake_failures_total{{reason="{}",socket="{}"}}'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    found = KeyRing(tmp_path_factory.mktemp("keys"))
    for broker in ("ben", "bea"):
        found.add("broker", broker)
    return found


@pytest.fixture(scope="module")
def three(keys: KeyRing) -> Iterator[Cluster]:
    with cluster(http=True, keys=keys) as found:
        found.nodes[0].ask(CreateTenant(tenant_id=TENANT))
        yield found


def code_of(node: RunningNode, message: AnyRequest, curve: ClientCurve | None) -> str:
    """Ask a node; `no_leader` when it cannot be reached, empty when all is well."""
    with closing(RpcClient(node.rpc, curve=curve)) as client:
        try:
            client.ask(message, BRIEFLY)
        except FelixError as error:
            return error.code
    return ""


def failures(node: RunningNode, reason: str, socket: str) -> float:
    return node.metrics().get(FAILURES.format(reason, socket), 0.0)


def test_nodes_elect_one_of_them_and_pass_requests_on(three: Cluster) -> None:
    leader = three.leader()
    for number, node in enumerate(three.nodes):
        answered = node.ask(UpdateTenant(tenant_id=TENANT, description=f"by {number}"))
        read = leader.ask(GetTenant(tenant_id=TENANT))
        assert read.version >= answered.version
    leader.kill()
    assert three.leader() is not leader
    three.start()
    three.wait_converged()


def test_a_broker_reads_the_metadata_and_may_not_write(three: Cluster, keys: KeyRing) -> None:
    node = three.nodes[1]
    ben = keys.client("ben", [node])
    assert code_of(node, GetCluster(), ben) == ""
    assert code_of(node, UpdateTenant(tenant_id=TENANT, description="mine"), ben) == Forbidden.code
    assert code_of(node, GetTenant(tenant_id=TENANT), ben) == Forbidden.code
    with Follower(three.nodes, keys.client("ben", three.nodes)) as follower:
        follower.assert_in_step_with(three.wait_converged())


def test_a_backup_is_saved_with_the_key_of_an_operator(
    three: Cluster, keys: KeyRing, tmp_path: Path
) -> None:
    node = three.nodes[0]
    server_key = keys.pair(node.name).public
    saved = {}
    for who in ("olga", "ben"):
        secret = write_secret(tmp_path / f"{who}.key", keys.pair(who))
        options = ["--secret-key-file", str(secret), "--server-key", server_key]
        where = ["--from", node.config.listen.rpc, str(tmp_path / f"{who}.backup")]
        saved[who] = CliRunner().invoke(main, ["backup", "save", *options, *where])
    assert saved["olga"].exit_code == 0, saved["olga"].output
    assert saved["ben"].exit_code == EXIT_NOT_FETCHED
    assert Forbidden.code in saved["ben"].output


def trail(node: RunningNode, principal: str = "", operation: str = "") -> list[AuditRecord]:
    """What the audit trail has of somebody, oldest first."""
    page = node.ask(GetAudit(principal=principal, operation=operation), BRIEFLY).result
    assert isinstance(page, AuditPage)
    return list(reversed(page.items))


def test_what_a_key_was_refused_is_in_the_trail_with_who_what_and_why(
    three: Cluster, keys: KeyRing
) -> None:
    leader = three.leader()
    node = three.others(leader)[0]
    keys.add("broker", "bob")
    bob = keys.client("bob", [node])
    eventually(lambda: code_of(node, GetCluster(), bob) == "", 20)
    for message in (DeleteTenant(tenant_id=TENANT), GetTenantIdentity(tenant_id=TENANT)):
        assert code_of(node, message, bob) == Forbidden.code
    assert code_of(node, RecordRefusals(node="n9", refusals=()), node.curve) == Forbidden.code
    assert code_of(node, CreateTenant(tenant_id="a b"), node.curve) == ValidationFailed.code
    eventually(lambda: len(trail(leader, "broker:bob")) == 2)
    deleted, read = trail(leader, "broker:bob")
    assert (deleted.operation, deleted.object) == ("DeleteTenant", f"tenant:{TENANT}")
    assert (deleted.result, deleted.source) == (Forbidden.code, HOST)
    assert "nothing else over this socket" in deleted.reason
    assert (read.operation, read.tenant_id) == ("GetTenantIdentity", TENANT)
    eventually(lambda: len(trail(leader, "key:olga", "RecordRefusals")) == 1)
    (forged,) = trail(leader, "key:olga", "RecordRefusals")
    assert forged.result == Forbidden.code
    eventually(lambda: [one.result for one in made_up(leader)] == [ValidationFailed.code])
    keys.remove("bob")


def made_up(node: RunningNode) -> list[AuditRecord]:
    """What the trail has of a tenant that cannot be."""
    records = trail(node, "key:olga", "CreateTenant")
    return [one for one in records if one.result != "success"]


def test_a_flood_of_refused_requests_is_few_records_and_all_are_counted(
    three: Cluster, keys: KeyRing
) -> None:
    node = three.nodes[0]
    flood = 300
    with closing(RpcClient(node.rpc, curve=keys.client("bea", [node]))) as client:
        for _ in range(flood):
            with pytest.raises(Forbidden):
                client.ask(DeleteTenant(tenant_id=TENANT), BRIEFLY)
    eventually(lambda: sum(one.count for one in trail(node, "broker:bea")) == flood, 20)
    assert len(trail(node, "broker:bea")) < flood / 3
    lines = node.log.read_text().splitlines()
    assert sum("request_refused" in one and "broker:bea" in one for one in lines) < flood / 3


def test_strangers_hear_nothing_and_leave_a_trace(three: Cluster, keys: KeyRing) -> None:
    node = three.nodes[2]
    mistaken = ClientCurve(keys.pair("ben"), (keys.pair("somebody else").public,))
    for curve, reason in (
        (keys.client("stranger", [node]), "unknown_key"),
        (mistaken, "wrong_server_key"),
        (None, "not_encrypted"),
    ):
        with Follower([node], curve) as follower:
            for socket in ("watch", "rpc"):
                eventually(lambda r=reason, s=socket: failures(node, r, s) > 0, 20)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert code_of(node, GetCluster(), curve) == NoLeader.code
            assert (follower.client.version, follower.heard) == (0, 0)
        assert reason in node.log.read_text()
    assert keys.pair("stranger").public[:8] in node.log.read_text()


def test_a_key_counts_once_it_is_in_the_list_and_no_longer(three: Cluster, keys: KeyRing) -> None:
    node = three.nodes[0]
    late = keys.client("late", [node])
    assert code_of(node, GetCluster(), late) == NoLeader.code
    with ExitStack() as stack:
        waiting = stack.enter_context(Follower([node], late))
        steady = stack.enter_context(Follower([node], keys.client("bea", [node])))
        asking = stack.enter_context(closing(RpcClient(node.rpc, curve=late)))
        assert steady.client.wait_current(30)

        keys.add("broker", "late")
        assert waiting.client.wait_current(30), "a broker that waited was not let in"
        asking.ask(GetCluster(), Call(timeout_s=10, consistency="stale"))

        keys.remove("late")
        refused = failures(node, "unknown_key", "watch")

        def writing_goes_on_until_it_is_refused() -> bool:
            for number in range(20):
                node.ask(UpdateTenant(tenant_id=TENANT, description=f"{number}"))
            return failures(node, "unknown_key", "watch") > refused

        eventually(writing_goes_on_until_it_is_refused, 30)  # over the end of the watch socket
        assert why_not(asking) == Unauthorized.code, "its connection still stands"
        shown = f"{keys.pair('late').public[:8]}..."
        eventually(lambda: any(shown in one.reason for one in trail(node, operation="GetCluster")))
        heard = waiting.heard
        last = node.ask(UpdateTenant(tenant_id=TENANT, description="secret"))
        assert steady.client.wait_version(last.version, 30)
        steady.assert_in_step_with(three.wait_converged())
        assert len(steady.snapshots) == 1, "it had to begin anew"
        assert waiting.client.version < last.version
        assert waiting.heard == heard


def why_not(client: RpcClient) -> str:
    try:
        client.ask(GetCluster(), BRIEFLY)
    except FelixError as error:
        return error.code
    return ""


def test_a_node_whose_key_is_removed_is_out_until_it_is_back(three: Cluster, keys: KeyRing) -> None:
    node = three.others(three.leader())[0]
    others = three.others(node)
    keys.remove(node.name)
    try:
        eventually(lambda: node.probe("/ready").status != 200, 30)
        answered = others[0].ask(UpdateTenant(tenant_id=TENANT, description="without you"))
        for one in others:  # it was hung up on, and does not get in again
            eventually(lambda one=one: failures(one, "unknown_key", "peers") > 0, 20)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            eventually(lambda one=one: says_it_has_no_key(one, node))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        status = node.status()
        assert status is None or status.version < answered.version
    finally:
        keys.add("node", node.name)
    three.wait_ready()
    three.wait_converged()


def says_it_has_no_key(node: RunningNode, other: RunningNode) -> bool:
    lines = node.log.read_text().splitlines()
    return any("no key in the allow-list" in one and f"name={other.name}" in one for one in lines)


def test_a_list_that_cannot_be_read_leaves_the_last_one_in_force(
    three: Cluster, keys: KeyRing
) -> None:
    node = three.nodes[0]
    good = keys.allow_list.read_text()
    keys.allow_list.write_text("broker ben nonsense\n")
    try:
        eventually(lambda: "last good one stays" in node.log.read_text(), 20)
        assert code_of(node, GetCluster(), keys.client("ben", [node])) == ""
    finally:
        keys.allow_list.write_text(good)


@pytest.mark.parametrize("how", [FAILS, STOPS])
def test_a_node_whose_key_guard_dies_ends(how: str, keys: KeyRing) -> None:
    with cluster(nodes=1, keys=keys, module="tests.support.guardless_node") as alone:
        (node,) = alone.nodes
        mark = keys.folder / how
        mark.touch()
        try:
            assert node.wait(30) == EXIT_ACTOR_FAILED
        finally:
            mark.unlink()
        assert "Guard failed, the node cannot go on" in node.log.read_text()


def test_a_node_does_not_start_with_a_secret_that_others_can_read(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path)
    (config,) = make_configs(tmp_path, 1)
    node = RunningNode(config, tmp_path / "node")
    keys.give_to(node)
    Path(node.config.curve.secret_key_file).chmod(0o644)
    node.start()
    assert node.wait(30) == EXIT_START
    assert "chmod 600" in node.log.read_text()
    assert keys.pair("n1").secret not in node.log.read_text()


def test_a_node_does_not_start_with_a_list_that_is_wrong(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path)
    (config,) = make_configs(tmp_path, 1)
    node = RunningNode(config, tmp_path / "node")
    keys.give_to(node)
    keys.allow_list.write_text("node n1\nking arthur x\n")
    node.start()
    assert node.wait(30) == EXIT_START
    for line in ("line 1", "line 2"):
        assert line in node.log.read_text()
