"""A cluster that goes on from one directory: others join it, those of the old one never do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from felix.cli.config import RaftTimings
from felix.cli.settings import addresses_of
from felix.proto.cluster import AddMember
from felix.proto.commands import CreateTenant
from felix.proto.control_plane import Call
from felix.proto.queries import ClusterStatus
from tests.rescue.commands import felix
from tests.support.cluster import Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def voters_of(node: RunningNode) -> set[str]:
    status = node.status()
    return {one.name for one in status.members if one.voter} if status else set()


def take_in(first: RunningNode, new: RunningNode) -> None:
    """Add a node that waits for it, as an operator does."""
    eventually(lambda: new.status() is not None, 30)
    first.ask(
        AddMember(
            member_id=new.id, name=new.name, addresses=addresses_of(new.config.self_as_member)
        ),
        Call(timeout_s=20),
    )


def lost_cluster(three: Cluster) -> ClusterStatus:
    """Write something, then lose every process."""
    three.make_namespace()
    three.nodes[0].ask(CreateTenant(tenant_id="kept"))
    before = three.wait_converged()
    for node in three.nodes:
        node.kill()
    return before


@pytest.mark.parametrize("how", ["recovered", "restored"])
def test_others_join_a_new_cluster_and_an_old_member_never_mixes_in(
    tmp_path: Path, how: str
) -> None:
    with cluster(raft=RaftTimings(promote_after_ms=200)) as three:
        first, joins, old = three.nodes
        if how == "restored":
            three.make_namespace()
            felix("backup", "save", "--from", first.config.listen.rpc, tmp_path / "b")
            before = three.wait_converged()
            for node in three.nodes:
                node.kill()
            felix(
                *("restore", tmp_path / "b", "--config", first.config_file),
                *("--replace", "--yes"),
            )
        else:
            before = lost_cluster(three)
            felix("recover", "apply", "--data-dir", first.data_dir, "--yes")
        shutil.rmtree(joins.data_dir)
        old_id = old.id
        first.start()
        eventually(first.is_ready, 30)
        joins.start()
        old.start()  # with all its data: nobody told it
        take_in(first, joins)
        eventually(lambda: voters_of(first) == {"n1", "n2"}, 60)
        first.ask(CreateTenant(tenant_id="new-life"))
        found, stranger = first.status(), old.status()
        assert found is not None
        assert stranger is not None
        assert found.epoch > before.epoch
        assert found.cluster_id != before.cluster_id == stranger.cluster_id
        assert stranger.leader_id is None
        assert old_id not in {one.id for one in found.members}

        old.kill()
        shutil.rmtree(old.data_dir)
        old.start()
        take_in(first, old)
        eventually(lambda: voters_of(first) == {"n1", "n2", "n3"}, 60)
        after = three.wait_converged()
        assert after.version == found.version
        assert after.digest == found.digest
