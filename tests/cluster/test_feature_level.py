"""Upgrades of real nodes: two builds in one cluster, and a node that is too old."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from felix.cli.config import RaftTimings
from felix.proto.codec import encode
from felix.proto.commands import (
    CreateCache,
    DeleteCache,
    FeatureLevel,
    Proposal,
    SetFeatureLevel,
    Stamp,
)
from felix.proto.errors import FeatureLevelTooLow
from felix.proto.ids import Index, Term
from felix.proto.levels import EXIT_TOO_OLD
from felix.proto.raft import Entry, EntryKind
from felix.storage.journal import SqliteJournal
from tests.support import next_build
from tests.support.cluster import NAMESPACE, TENANT, Cluster, RunningNode, cluster
from tests.support.next_build import Build
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SNAPSHOT_ENTRIES = 60
NAMES: Any = {"tenant_id": TENANT, "namespace": NAMESPACE}


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return next_build.load(tmp_path_factory.mktemp("next"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the next build is for processes of its own."""
    path = tmp_path_factory.mktemp("build")
    next_build.write(path)
    return path


@pytest.fixture
def three() -> Iterator[Cluster]:
    raft = RaftTimings(snapshot_entries=SNAPSHOT_ENTRIES, trail_entries=10)
    with cluster(raft=raft) as running:
        running.make_namespace()
        yield running


def restart(three: Cluster, node: RunningNode, build: Path | None) -> None:
    """Start a node as another build; None: the one under test."""
    node.terminate()
    assert node.wait() == 0
    node.build = build
    three.start()


def ask_as_newer(newer: Build, node: RunningNode, **parts: object) -> Any:
    """Ask with the newer build's client. Raises: an error of the newer build."""
    with closing(newer.module("transport.rpc_client").RpcClient(node.rpc)) as client:
        return client.ask(newer.command(encode(parts))).result


def label(newer: Build, node: RunningNode, text: str) -> Any:
    return ask_as_newer(newer, node, type="LabelCache", **NAMES, cache="rates", label=text)


def end_of(node: RunningNode, build: Path | None) -> str:
    """Start a node that is too old; give the reason that it says."""
    node.build = build
    node.start()
    assert node.wait() == EXIT_TOO_OLD
    return node.log.read_text().splitlines()[-1].removeprefix("felix-controlplane: ")


def test_two_builds_work_together_and_the_older_one_may_come_back(
    three: Cluster, newer: Build, folder: Path
) -> None:
    three.nodes[0].ask(CreateCache(**NAMES, cache="rates"))
    one, two, _ = three.nodes
    for node, build in ((one, folder), (two, folder), (two, None), (one, None)):
        restart(three, node, build)
        for asked in three.nodes:
            asked.ask(CreateCache(**NAMES, cache="short-lived"))
            asked.ask(DeleteCache(**NAMES, cache="short-lived"))
            with pytest.raises(FeatureLevelTooLow):
                asked.ask(SetFeatureLevel(level=2))
            refusal = "UnknownMessage" if asked.build is None else "FeatureLevelTooLow"
            with pytest.raises(getattr(newer.module("proto.errors"), refusal)):
                label(newer, asked, "hot")
        assert three.wait_converged().feature_level == 1


def levels_shown(three: Cluster) -> list[dict[str, int]]:
    """What each node shows of the members' builds, by name."""
    statuses = [node.status() for node in three.nodes]
    return [{one.name: one.level for one in status.members} for status in statuses if status]


def test_the_level_is_raised_with_the_last_member_and_then_there_is_no_way_back(
    three: Cluster, newer: Build, folder: Path
) -> None:
    one, two, last = three.nodes
    one.ask(CreateCache(**NAMES, cache="rates"))
    for node in (one, two):
        restart(three, node, folder)
    eventually(lambda: levels_shown(three) == [{"n1": 2, "n2": 2, "n3": 1}] * 3, 30)
    for asked in three.nodes:
        with pytest.raises(FeatureLevelTooLow) as refused:
            asked.ask(SetFeatureLevel(level=2))
        assert refused.value.details == {"needed": 2, "active": 1, "members": "n3"}
    restart(three, last, folder)
    eventually(lambda: levels_shown(three) == [{"n1": 2, "n2": 2, "n3": 2}] * 3, 30)
    identity = last.id
    last.kill()
    for asked in (one, two):
        assert asked.ask(SetFeatureLevel(level=2)).result == FeatureLevel(2)
        assert label(newer, asked, asked.name).label == asked.name
    for _ in range(2 * SNAPSHOT_ENTRIES):  # so that it will not get the entries, but a snapshot
        one.ask(CreateCache(**NAMES, cache="short-lived"))
        one.ask(DeleteCache(**NAMES, cache="short-lived"))
    assert end_of(last, None).startswith("the snapshot needs feature level 2 ")
    assert label(newer, one, "still").label == "still"
    last.build = folder
    three.start()
    assert three.wait_converged().feature_level == 2
    assert last.id == identity, "its data was good, and stays"
    last.terminate()
    assert last.wait() == 0
    assert "needs feature level 2" in end_of(last, None)
    shutil.rmtree(last.data_dir)  # and with an empty disk it does not get so far as to be taken in
    assert "the cluster needs feature level 2, this build has 1" in end_of(last, None)


def test_a_node_whose_log_is_too_new_for_it_ends_and_says_so() -> None:
    with cluster(nodes=1) as one:
        (node,) = one.nodes
        node.terminate()
        assert node.wait() == 0
        with closing(SqliteJournal(node.data_dir / "journal.db", node.id)) as journal:
            entries = journal.recover().entries
            index, term = Index(entries[-1].index + 1), Term(entries[-1].term)
            data = encode(Proposal(2, Stamp(1), SetFeatureLevel(level=2)))
            journal.append(None, [Entry(index, term, EntryKind.COMMAND, data)])
        assert end_of(node, None) == f"entry {index} needs feature level 2, this build has 1"
