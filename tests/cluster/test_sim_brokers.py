"""Simulated brokers at three real nodes: placed upon, killed, drained, stopped, waited for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from felix.cli.config import BrokersConfig
from felix.cli.sim_broker import SimBroker, SimOptions
from felix.cli.sim_broker_command import EXIT_REPLACED
from felix.proto.brokers import AppliedBy, Placement
from felix.proto.commands import CreateStream, CreateTenant, DeleteStream
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.placement_commands import DrainBroker, RemoveBroker
from felix.proto.queries import (
    GetBroker,
    GetPlacement,
    ListBrokers,
    Listing,
    ListStreams,
    WaitForBrokers,
)
from felix.proto.resources import Broker, ShardPlacement, StreamSpec
from felix.transport.broker import BrokerSettings
from tests.cluster.fake_broker import CALL, status_of
from tests.support.cluster import NAMESPACE, TENANT, Cluster, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

INTERVAL_S, MISSED = 0.3, 3
TIMES = BrokersConfig(heartbeat_interval_ms=int(INTERVAL_S * 1000), missed_heartbeats=MISSED)
QUICK = SimOptions(copy_s=0.1)
NAMES = ("b0", "b1", "b2", "b3")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster(brokers=TIMES) as running:
        running.make_namespace()
        yield running


@pytest.fixture
def three(nodes: Cluster) -> Iterator[Cluster]:
    """The cluster, in which each test finds neither streams nor brokers."""
    yield nodes
    leader = nodes.leader()
    streams = leader.ask(ListStreams(tenant_id=TENANT, namespace=NAMESPACE), CALL).result
    assert isinstance(streams, Listing)
    for one in streams.items:
        name = one.key[-1]
        gone = DeleteStream(tenant_id=TENANT, namespace=NAMESPACE, stream=name, force=True)
        leader.ask(gone, CALL)
    brokers = leader.ask(ListBrokers(), CALL).result
    assert isinstance(brokers, Listing)
    for one in brokers.items:
        (name,) = one.key
        eventually(lambda name=name: status_of(nodes.leader(), name) in {"down", "drained"})  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        leader.ask(RemoveBroker(broker_id=name, abandon=True), CALL)


def sim(three: Cluster, name: str, options: SimOptions = QUICK) -> SimBroker:
    zone = f"zone-{int(name[-1]) % 3}"
    settings = BrokerSettings(broker_id=name, address=f"{name}:5000", availability_zone=zone)
    return SimBroker(settings, [node.endpoints for node in three.nodes], options)


@contextmanager
def fleet(three: Cluster, names: tuple[str, ...] = NAMES) -> Iterator[dict[str, SimBroker]]:
    """Brokers in this process that are registered, and listen."""
    with ExitStack() as stack:
        brokers = {name: stack.enter_context(sim(three, name)) for name in names}
        for one in brokers.values():
            assert one.broker.wait_registered(10)
            assert one.broker.client.wait_current(10)
        yield brokers


@contextmanager
def in_a_process(three: Cluster, name: str, output: Path) -> Iterator[subprocess.Popen[str]]:
    """A broker as its own process."""
    command = [sys.executable, "-m", "felix", "sim-broker", "--broker-id", name]
    command += ["--address", f"{name}:5000", "--zone", f"zone-{int(name[-1]) % 3}"]
    command += ["--copy-seconds", "0.1"]
    for node in three.nodes:
        command += ["--rpc", node.config.listen.rpc, "--watch", node.config.listen.watch]
    with (
        output.open("w") as file,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=file, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()
            print(output.read_text())


def create(three: Cluster, name: str, *, copies: int = 3, shards: int = 4) -> None:
    spec = StreamSpec(shards=shards, replication_factor=copies, durability="durable")
    made = CreateStream(tenant_id=TENANT, namespace=NAMESPACE, stream=name, spec=spec)
    three.nodes[0].ask(made, CALL)


def shards_of(three: Cluster, name: str) -> tuple[Placement, ...]:
    """Placements of a stream; empty while there are none."""
    asked = GetPlacement(tenant_id=TENANT, namespace=NAMESPACE, stream=name)
    try:
        found = three.nodes[0].ask(asked, CALL).result
    except FelixError:
        return ()
    assert isinstance(found, ShardPlacement)
    return found.placements


def is_whole(three: Cluster, name: str, copies: int) -> bool:
    shards = shards_of(three, name)
    return bool(shards) and all(
        one.leader and len(one.copies) == copies and len(one.in_sync) == copies for one in shards
    )


def assert_nobody_is_wrong(three: Cluster, brokers: dict[str, SimBroker]) -> None:
    status = three.wait_converged()
    for one in brokers.values():
        client = one.broker.client
        assert client.wait_version(status.version, 10)
        eventually(lambda applied=client: applied.applied.version >= status.version)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        if client.applied.version == status.version:
            assert client.applied.digest == status.digest
        assert client.statistics().digest_mismatches == 0


def test_a_stream_is_placed_and_looked_up_at_every_broker(three: Cluster) -> None:
    with fleet(three) as brokers:
        create(three, "orders")
        eventually(lambda: is_whole(three, "orders", 3))
        leaders = {one.leader for one in shards_of(three, "orders")}
        assert leaders == set(NAMES), "four shards, four leaders"
        three.wait_converged()
        assert_nobody_is_wrong(three, brokers)
        for one in brokers.values():
            placement = one.broker.lookup(TENANT, NAMESPACE, "orders").placement
            assert placement is not None
            assert placement.placements == shards_of(three, "orders")


def test_when_a_leaders_process_is_killed_others_lead_within_the_window(three: Cluster) -> None:
    with tempfile.TemporaryDirectory(prefix="felix-test-") as folder, fleet(three) as brokers:
        with in_a_process(three, "b4", Path(folder) / "output") as process:
            eventually(lambda: _is(three, "b4", "active"))
            create(three, "orders", shards=5)
            eventually(lambda: is_whole(three, "orders", 3))
            before = shards_of(three, "orders")
            assert "b4" in {one.leader for one in before}
            process.kill()
            killed_at = time.monotonic()
            eventually(lambda: all(one.leader in brokers for one in shards_of(three, "orders")))
            # The window, a look at who is late, and what a busy machine takes.
            assert time.monotonic() - killed_at < INTERVAL_S * (MISSED + 1) + 2
        for was, now in zip(before, shards_of(three, "orders"), strict=True):
            if was.leader == "b4":
                assert now.leader in was.replicas
                assert now.generation > was.generation
        assert_nobody_is_wrong(three, brokers)


def test_a_broker_is_drained_and_holds_nothing_in_the_end(three: Cluster) -> None:
    with fleet(three) as brokers:
        create(three, "orders")
        eventually(lambda: is_whole(three, "orders", 3))
        three.nodes[1].ask(DrainBroker(broker_id="b0"), CALL)
        eventually(lambda: status_of(three.nodes[0], "b0") == "drained", 60)
        eventually(lambda: is_whole(three, "orders", 3))
        assert all("b0" not in one.copies for one in shards_of(three, "orders"))
        assert_nobody_is_wrong(three, brokers)


def test_a_broker_that_stops_is_down_at_once_and_one_that_is_deaf_after_the_window(
    three: Cluster,
) -> None:
    with fleet(three, ("b0", "b1")) as brokers:
        brokers["b0"].stop()
        assert status_of(three.leader(), "b0") == "down"
        brokers["b1"].deaf()
        eventually(lambda: _is(three, "b1", "down"))
        brokers["b1"].hear()
        eventually(lambda: _is(three, "b1", "active"))


def test_who_waits_for_brokers_is_told_in_less_than_a_second(three: Cluster) -> None:
    three.nodes[0].ask(CreateTenant(tenant_id="before"), CALL)
    with fleet(three) as brokers:
        for number in range(5):
            made = CreateTenant(tenant_id=f"awaited-{number}")
            version = three.nodes[0].ask(made, Call(wants_acks=True)).version
            since = time.monotonic()
            done = three.nodes[1].ask(WaitForBrokers(version=version), Call(timeout_s=5)).result
            assert isinstance(done, AppliedBy)
            assert (done.is_reached, done.laggards) == (True, [])
            assert time.monotonic() - since < 1
        brokers["b2"].slow(1.0)
        version = three.nodes[0].ask(CreateTenant(tenant_id="slow"), Call(wants_acks=True)).version
        late = three.nodes[1].ask(WaitForBrokers(version=version), Call(timeout_s=0.5)).result
        assert isinstance(late, AppliedBy)
        assert late.laggards == ["b2"], "what it is still busy with it does not claim to have"


def test_a_broker_process_obeys_and_says_what_it_hears(three: Cluster) -> None:
    with tempfile.TemporaryDirectory(prefix="felix-test-") as folder:
        output = Path(folder) / "output"
        with in_a_process(three, "b0", output) as process:
            assert process.stdin is not None
            eventually(lambda: _is(three, "b0", "active"))
            create(three, "orders", copies=1, shards=1)
            eventually(lambda: "(leaders 0: b0)" in output.read_text())
            for command, status in (("deaf", "down"), ("hear", "active")):
                print(command, file=process.stdin, flush=True)
                eventually(lambda status=status: _is(three, "b0", status))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            print("status", file=process.stdin, flush=True)
            eventually(lambda: "1 copies, leads 1" in output.read_text())
            print("quit", file=process.stdin, flush=True)
            assert process.wait(10) == 0
            assert _is(three, "b0", "down")


def test_of_two_processes_with_one_id_and_address_the_later_stays_and_the_first_ends_loudly(
    three: Cluster,
) -> None:
    with tempfile.TemporaryDirectory(prefix="felix-test-") as folder:
        outputs = [Path(folder) / name for name in ("first", "second")]
        with in_a_process(three, "b0", outputs[0]) as first:
            eventually(lambda: _is(three, "b0", "active"))
            epoch = row_of(three, "b0").broker_epoch
            with in_a_process(three, "b0", outputs[1]) as second:
                eventually(lambda: row_of(three, "b0").broker_epoch > epoch, 60)
                assert first.wait(60) == EXIT_REPLACED
                assert "stop this process, or give one of the two another" in outputs[0].read_text()
                row = row_of(three, "b0")
                assert row.broker_epoch > epoch
                print("status", file=second.stdin, flush=True)
                eventually(lambda: "active" in outputs[1].read_text())
                assert second.poll() is None
                assert row_of(three, "b0") == row, "nobody took it back"


def row_of(three: Cluster, name: str) -> Broker:
    row = three.leader().ask(GetBroker(broker_id=name), CALL).result
    assert isinstance(row, Broker)
    return row


def _is(three: Cluster, name: str, status: str) -> bool:
    try:
        return status_of(three.leader(), name) == status
    except FelixError:
        return False
