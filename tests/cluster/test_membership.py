"""Nodes that come, leave, lose their disks and are replaced, with real processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from felix.cli.config import (
    LISTENERS,
    ClusterConfig,
    ListenConfig,
    MemberConfig,
    RaftTimings,
)
from felix.cli.config_loading import render
from felix.proto.cluster import AddMember, RemoveMember, TransferLeadership
from felix.proto.commands import UpdateTenant
from felix.proto.control_plane import Call
from felix.proto.errors import MembershipRefused, TransferRefused
from felix.proto.queries import ClusterStatus
from felix.proto.raft import Addresses
from felix.storage.data_dir import SET_ASIDE
from tests.cluster.load import Load, assert_nothing_is_lost
from tests.support.cluster import HOST, TENANT, Cluster, RunningNode, cluster, free_ports
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

QUICK = RaftTimings(promote_after_ms=300)
EXIT_REMOVED = 74


@pytest.fixture
def three(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with cluster(raft=QUICK) as running:
        running.make_namespace()
        failed = request.session.testsfailed
        yield running
        if request.session.testsfailed > failed:
            running.print_logs()


def newcomer(three: Cluster, name: str = "n4") -> RunningNode:
    """A node that is configured to join."""
    first = three.nodes[0]
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    addresses = {listener: f"{HOST}:{port}" for listener, port in ports.items()}
    folder = first.log.parent.parent / name
    config = msgspec.structs.replace(
        first.config,
        name=name,
        data_dir=str(folder / "data"),
        listen=ListenConfig(**addresses),
        cluster=ClusterConfig(
            name=first.config.cluster.name,
            bootstrap="existing",
            members=(*first.config.cluster.members, MemberConfig(name=name, **addresses)),
        ),
    )
    return RunningNode(config, folder)


def add(node: RunningNode, *, replace: bool = False) -> AddMember:
    return AddMember(
        member_id=node.id,
        name=node.name,
        addresses=Addresses(**{one: getattr(node.config.listen, one) for one in LISTENERS}),
        replace=replace,
    )


def ask(three: Cluster, message: AddMember | RemoveMember | TransferLeadership) -> ClusterStatus:
    answered = three.nodes[0].ask(message, Call(timeout_s=10))
    assert isinstance(answered.result, ClusterStatus)
    return answered.result


def voters_seen_by(node: RunningNode) -> set[str]:
    status = node.status()
    if status is None or status.change_under_way:
        return set()
    return {one.id for one in status.members if one.voter}


def is_outsider(node: RunningNode) -> bool:
    status = node.status()
    return status is not None and status.members[0].role == "outsider"


def test_a_node_joins_as_a_learner_catches_up_and_votes(three: Cluster) -> None:
    with Load(three.rpc) as load:
        fourth = newcomer(three)
        three.nodes.append(fourth)
        fourth.start()
        eventually(lambda: is_outsider(fourth), 30)
        status = ask(three, add(fourth))
        assert [one.role for one in status.members if one.id == fourth.id] == ["learner"]
        eventually(lambda: fourth.id in voters_seen_by(three.nodes[0]), 30)
        eventually(lambda: load.count > 200, 30)
    three.wait_converged()
    for node in three.nodes:
        assert_nothing_is_lost(load, node)
    assert ask(three, add(fourth)).version > 0, "asking again changes nothing"


def test_a_member_that_is_removed_exits_saying_so_and_never_comes_back(three: Cluster) -> None:
    follower = three.others(three.leader())[0]
    asked = three.others(follower)[0]
    term = three.nodes[0].status()
    answered = asked.ask(RemoveMember(member=follower.name), Call(timeout_s=10)).result
    assert isinstance(answered, ClusterStatus)
    assert follower.id not in {one.id for one in answered.members}
    assert follower.wait() == EXIT_REMOVED
    assert "removed from the cluster" in follower.tail_of_log()
    follower.start()
    assert follower.wait() == EXIT_REMOVED, "it came back with its old volume"
    assert term is not None
    now = asked.status()
    assert now is not None
    assert now.term == term.term, "the removed node disturbed the others"
    with pytest.raises(MembershipRefused):
        asked.ask(add(follower))


def test_the_leader_itself_can_be_removed_under_load(three: Cluster) -> None:
    leader = three.leader()
    rest = three.others(leader)
    with Load([node.rpc for node in rest]) as load:
        eventually(lambda: load.count > 50, 30)
        answered = rest[0].ask(RemoveMember(member=leader.id), Call(timeout_s=10)).result
        assert isinstance(answered, ClusterStatus)
        assert leader.wait() == EXIT_REMOVED
        before = load.count
        eventually(lambda: load.count > before + 100, 30)
    three.nodes.remove(leader)
    three.wait_converged()
    for node in rest:
        assert_nothing_is_lost(load, node)


def test_a_member_that_lost_its_disk_is_somebody_new_and_takes_its_own_place(
    three: Cluster,
) -> None:
    with Load(three.rpc) as load:
        eventually(lambda: load.count > 50, 30)
        lost = three.others(three.leader())[0]
        before = lost.id
        lost.kill()
        shutil.rmtree(lost.data_dir)
        lost.start()  # still told to found a new cluster
        eventually(lambda: lost.data_dir.joinpath("identity.json").exists(), 30)
        assert lost.id != before
        other = three.others(lost)[0]
        eventually(lambda: lost.id in voters_seen_by(other), 60)
        assert before not in voters_seen_by(other)
        assert len(voters_seen_by(other)) == 3
    three.wait_converged()
    for node in three.nodes:
        assert_nothing_is_lost(load, node)


@pytest.mark.parametrize("damaged", ["journal.db", "snapshots"])
def test_a_node_whose_data_is_damaged_sets_it_aside_and_takes_its_own_place(
    damaged: str,
) -> None:
    # Without a trail: with one, the log alone could stand in for a damaged snapshot.
    timings = RaftTimings(promote_after_ms=300, snapshot_entries=50, trail_entries=1)
    with cluster(raft=timings) as three:
        three.make_namespace()
        for number in range(120):  # more entries than records, so that there are snapshots
            update = UpdateTenant(tenant_id=TENANT, description=str(number))
            three.nodes[0].ask(update)
        node = three.others(three.leader())[0]
        eventually(lambda: any((node.data_dir / "snapshots").iterdir()))
        with Load(three.rpc) as load:
            eventually(lambda: load.count > 100, 60)
            before = node.id
            node.terminate()
            assert node.wait() == 0
            spoil(node.data_dir / damaged)
            node.start()
            other = three.others(node)[0]
            eventually(lambda: node.id != before and node.id in voters_seen_by(other), 60)
        three.wait_converged()
        for one in three.nodes:
            assert_nothing_is_lost(load, one)
        (aside,) = node.data_dir.glob(SET_ASIDE + "*")
        assert (aside / "journal.db").exists()
        assert "does not trust its data" in node.tail_of_log()


def spoil(path: Path) -> None:
    """Turn bytes in the middle of a file, or of each file of a folder."""
    for file in path.iterdir() if path.is_dir() else [path]:
        content = bytearray(file.read_bytes())
        for offset in range(len(content) // 2, len(content), 64):
            content[offset] ^= 0xFF
        file.write_bytes(content)


def test_leadership_is_handed_over_on_request(three: Cluster) -> None:
    leader = three.leader()
    target = three.others(leader)[0]
    answered = three.nodes[0].ask(TransferLeadership(target=target.name), Call(timeout_s=5))
    assert isinstance(answered.result, ClusterStatus)
    assert answered.result.leader_id == target.id
    assert three.leader() is target
    again = three.nodes[0].ask(TransferLeadership(target=target.id)).result
    assert isinstance(again, ClusterStatus)
    assert again.leader_id == target.id


def test_a_handover_to_a_dead_target_is_refused_and_writes_go_on(three: Cluster) -> None:
    leader = three.leader()
    target, other = three.others(leader)
    target.kill()
    with Load([leader.rpc, other.rpc]) as load:

        def refused() -> bool:
            try:
                other.ask(TransferLeadership(target=target.name), Call(timeout_s=5))
            except TransferRefused as error:
                return error.details["reason"] in {"not_alive", "timed_out", "lagging"}
            return False

        eventually(refused, 10)
        before = load.count
        eventually(lambda: load.count > before + 50, 10)
    assert three.leader() is leader


def move(nodes: list[RunningNode]) -> None:
    """Give nodes that do not run other addresses; each is told of all of them."""
    every_port = free_ports(len(LISTENERS) * len(nodes))
    moved: dict[str, MemberConfig] = {}
    for at, node in enumerate(nodes):
        ports = every_port[at * len(LISTENERS) :]
        addresses = {one: f"{HOST}:{port}" for one, port in zip(LISTENERS, ports, strict=False)}
        moved[node.name] = MemberConfig(name=node.name, **addresses)
    for node in nodes:
        members = tuple(moved.get(one.name, one) for one in node.config.cluster.members)
        mine = moved[node.name]
        node.config = msgspec.structs.replace(
            node.config,
            listen=ListenConfig(**{one: getattr(mine, one) for one in LISTENERS}),
            cluster=msgspec.structs.replace(node.config.cluster, members=members),
        )
        node.rpc = f"tcp://{node.config.listen.rpc}"
        node.config_file.write_text(render(node.config), encoding="utf-8")


def is_known_at_its_address(node: RunningNode, to: list[RunningNode]) -> bool:
    seen = [one.status() for one in to]
    return all(
        status is not None
        and any(
            member.id == node.id and member.addresses["rpc"] == node.config.listen.rpc
            for member in status.members
        )
        for status in seen
    )


def test_a_member_whose_address_changed_is_found_again(three: Cluster) -> None:
    node = three.others(three.leader())[0]
    node.terminate()
    assert node.wait() == 0
    move([node])
    node.start()
    eventually(node.is_ready, 30)
    eventually(lambda: is_known_at_its_address(node, three.others(node)), 30)
    three.wait_converged()


def test_a_cluster_whose_members_have_all_moved_forms_again_unaided(three: Cluster) -> None:
    for node in three.nodes:
        node.kill()
    move(three.nodes)
    three.start()
    for node in three.nodes:
        eventually(lambda node=node: is_known_at_its_address(node, three.nodes), 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    three.wait_converged()
