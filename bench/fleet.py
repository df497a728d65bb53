"""A whole fleet of brokers at three nodes: cold starts, a leader killed, a zone of brokers killed.

After each of these every broker's cache is held against the nodes': version and digest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Final, TypeVar

import msgspec

from bench.broker_host import ZONES, Party, Standing, host, parties
from bench.cluster import FelixCluster, launch
from bench.errors import BenchError
from bench.felix_client import NAMESPACE, TENANT, replicated_stream
from bench.loads import Order, clock
from bench.machine import Spent, cpu_s, foreign_percent, resident_mib, spent
from bench.measure import Round, figures
from bench.stage import READY_TIMEOUT_S, Plan, fresh_folder, run_load
from bench.systems import NODES, Work, wait_healthy
from bench.workers import Worker
from felix.proto.control_plane import Call
from felix.proto.queries import (
    PAGE_SIZE_MAX,
    ClusterStatus,
    Listing,
    ListPlacements,
    ListStreams,
)
from felix.proto.resources import Resource, ShardPlacement
from felix.transport.rpc_client import RpcClient

PREFIX: Final = "stream"
LOAD_PREFIX: Final = "load"
WINDOW: Final = 64
POLL_S: Final = 0.1
WHERE_TIMEOUT_S: Final = 60.0
LOAD_TIMEOUT_S: Final = 20.0


T = TypeVar("T")


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How many, and how patient."""

    brokers: int = 100
    """A whole number for each process."""
    hosts: int = 10
    """Processes that they are in: a whole number for each of the zones."""
    streams: int = 10_000
    shards: int = 1
    """Of each stream, with three copies each."""
    copy_s: float = 0.5
    """After this long a new copy has everything."""
    interval_ms: int = 5000
    """Brokers report so often; who misses three reports is down."""
    rebuild_after_s: int = 10
    load_s: float = 3.0
    """Streams are created for so long before the leader is killed, until it is started again, and
    after that."""
    patience_s: float = 900.0
    """For any one thing to come true."""


def run(plan: Plan) -> list[Round]:
    """Go through everything in every round; the peers have no brokers."""
    rounds = []
    size = Size(brokers=plan.brokers, streams=plan.streams)
    for number in range(plan.rounds if "felix" in plan.systems else 0):
        plan.say(f"round {number + 1} of {plan.rounds}: felix")
        with fresh_folder(plan.data_dir) as folder, fleet(folder, size, plan.say) as one:
            rounds += one.everything()
    return rounds


@contextmanager
def fleet(folder: str, size: Size, say: Callable[[str], None]) -> Iterator[Fleet]:
    """Run a fresh cluster for a fleet that is yet to come."""
    options = (
        f"--broker-interval-ms={size.interval_ms}",
        f"--rebuild-after-s={size.rebuild_after_s}",
    )
    with launch(folder, *options) as cluster, ExitStack() as stack:
        wait_healthy(cluster.target)
        cluster.target.prepare()
        yield Fleet(cluster, size, stack, say)


class _Meter:
    """What a phase took: begun when made."""

    def __init__(self, pids: Callable[[], list[int]], hosts: Callable[[], list[int]]) -> None:
        self._pids, self._hosts = pids, hosts
        self._spent: Spent = spent()
        self._before = {pid: cpu_s([pid]) for pid in (*pids(), *hosts())}
        self.began = clock()

    def notes(self) -> dict[str, float]:
        """Say what it took until now; what killed processes took is left out."""
        sizes = resident_mib(self._hosts())
        return {
            "nodes_cpu_s": round(self._taken(self._pids()), 1),
            "brokers_cpu_s": round(self._taken(self._hosts()), 1),
            "node_mib_max": round(max(resident_mib(self._pids())), 1),
            "brokers_mib": round(sum(sizes), 1),
            "foreign_cpu_percent": round(foreign_percent(self._spent, spent()), 1),
        }

    def _taken(self, pids: Iterable[int]) -> float:
        return sum(cpu_s([pid]) - self._before.get(pid, 0.0) for pid in pids)


class Fleet:
    """Nodes, and the brokers at them."""

    def __init__(
        self, cluster: FelixCluster, size: Size, stack: ExitStack, say: Callable[[str], None]
    ) -> None:
        """Processes of brokers end with `stack`."""
        self._cluster = cluster
        self._size = size
        self._stack = stack
        self._say = say
        self._hosts: list[Worker] = []
        self._streams = size.streams
        self._client = RpcClient([f"tcp://{one.rpc}" for one in cluster.target.nodes])
        stack.callback(self._client.close)
        nodes = [(f"tcp://{one.rpc}", f"tcp://{one.watch}") for one in cluster.target.nodes]
        self._parties: list[Party] = parties(size.brokers, size.hosts, nodes, size.copy_s)

    def everything(self) -> list[Round]:
        """Go through all phases. Raises: BenchError, when a broker ends with a wrong cache."""
        return [
            self.create_streams(),
            self.cold_start("cold start, nothing placed"),
            self.all_killed(),
            self.leader_killed(),
            self.zone_killed(),
        ]

    # --- phases -------------------------------------------------------------------------------

    def create_streams(self) -> Round:
        """Create the streams, before there is any broker."""
        meter = self._meter()
        target = self._cluster.target
        order = Order(
            self._leader(),
            Work(PREFIX, self._size.streams, "replicated_stream", self._size.shards),
            target.position(),
            window=WINDOW,
        )
        load = run_load(target, order).load
        return self._round("create", load.per_second, load.latencies_s, meter, {})

    def cold_start(self, case: str) -> Round:
        """Start all brokers at once, without a cache."""
        hosts = self._prepare()
        meter = self._meter()
        for one in hosts:
            one.send("go")
        self._hosts = hosts
        standings = self._until("all brokers are settled", self._settled)
        times_s = [one.settled_at - meter.began for one in standings]
        placed_at = self._until("all streams are placed and led", self._when_whole)
        notes = {"placed_s": placed_at - meter.began, **self._agreed(meter)}
        return self._round(case, len(times_s) / max(times_s), times_s, meter, notes)

    def all_killed(self) -> Round:
        """Kill every broker, and start all of them at once."""
        for one in self._hosts:
            one.kill()
        self._hosts = []
        return self.cold_start("all brokers killed and started anew")

    def leader_killed(self) -> Round:
        """Kill the leader while streams are created one after the other; start it again."""
        meter = self._meter()
        rpcs = [node.rpc for node in self._cluster.target.nodes]
        with Worker(keep_creating, rpcs, self._size.shards) as writer:
            writer.receive(str, READY_TIMEOUT_S)
            time.sleep(self._size.load_s)
            leader = self._leader()
            killed_at = self._cluster.kill(leader)
            time.sleep(self._size.load_s)
            self._cluster.restart(leader)
            time.sleep(self._size.load_s)
            writer.send("stop")
            written = writer.receive(Written, READY_TIMEOUT_S)
        wait_healthy(self._cluster.target)
        self._streams += len(written.names)
        self._check_created(written.names)
        quiet_at = clock()
        self._until("all streams are placed and led", self._when_whole)
        notes = {
            "written": len(written.names),
            "interrupted_ms": 1e3 * written.interruption_s(killed_at),
            "placed_s": clock() - quiet_at,
            **self._agreed(meter, quiet_at),
        }
        self._check_all_up()
        per_second = len(written.names) / (written.ended_at[-1] - written.ended_at[0])
        return self._round(
            "leader killed under load", per_second, written.latencies_s, meter, notes
        )

    def zone_killed(self) -> Round:
        """Kill all brokers of one zone; wait until all their copies are elsewhere."""
        meter = self._meter()
        dead = [one for number, one in enumerate(self._hosts) if number % ZONES == 0]
        names = {name for party in self._parties[::ZONES] for name in party.names}
        self._hosts = [one for one in self._hosts if one not in dead]
        for one in dead:
            one.kill()
        killed_at = clock()
        first_at = self._until("a broker is found down", lambda: self._when_down(1))
        all_at = self._until("all are found down", lambda: self._when_down(len(names)))
        self._check_leaders(names)
        agreed = self._agreed(meter, all_at)
        rebuilt_at = self._until("all copies are elsewhere", self._when_whole)
        notes = {
            "first_found_s": first_at - killed_at,
            "all_found_s": all_at - killed_at,
            **agreed,
            "rebuilt_s": rebuilt_at - killed_at,
            "agreed_on_rebuilt_s": self._agreed(meter, rebuilt_at)["agreed_s"],
        }
        return self._round("zone of brokers killed", 0.0, [all_at - killed_at], meter, notes)

    # --- parts --------------------------------------------------------------------------------

    def _prepare(self) -> list[Worker]:
        hosts = [self._stack.enter_context(Worker(host, one)) for one in self._parties]
        for one in hosts:
            self._stack.callback(one.kill)
            one.receive(str, READY_TIMEOUT_S)
        return hosts

    def _meter(self) -> _Meter:
        return _Meter(self._cluster.pids, lambda: [one.pid for one in self._hosts])

    def _round(
        self,
        case: str,
        per_second: float,
        times_s: Iterable[float],
        meter: _Meter,
        notes: dict[str, float],
    ) -> Round:
        found = {name: round(value, 2) for name, value in notes.items()} | meter.notes()
        self._say(f"{case}, after {clock() - meter.began:.1f} s: {found}")
        return Round(figures("felix", case, per_second, times_s), found)

    def _until(self, what: str, found: Callable[[], T | None]) -> T:
        deadline = clock() + self._size.patience_s
        while (answer := found()) is None:
            if clock() > deadline:
                raise BenchError(f"not within {self._size.patience_s} s: {what}")
            time.sleep(POLL_S)
        return answer

    def _leader(self) -> int:
        return self._until("there is a leader", self._cluster.target.leader)

    def _where(self) -> list[Standing]:
        for one in self._hosts:
            one.send("where")
        return [one for some in self._hosts for one in some.receive(list, WHERE_TIMEOUT_S)]

    def _settled(self) -> list[Standing] | None:
        standings = self._where()
        return standings if all(one.settled_at for one in standings) else None

    def _samples(self) -> dict[str, float]:
        return self._cluster.target.nodes[self._leader()].samples()

    def _when_whole(self) -> float | None:
        """Say that it is now that every stream has all its copies in sync, and leaders."""
        placed = self._samples().get('felix_catalog_objects{kind="ShardPlacement"}')
        if placed != self._streams:
            return None
        query = ListPlacements(is_incomplete=True, page_size=1)
        return clock() if not self._page(query).items else None

    def _when_down(self, count: int) -> float | None:
        down = self._samples()['felix_brokers{status="down"}']
        return clock() if down >= count else None

    def _check_all_up(self) -> None:
        active = self._samples()['felix_brokers{status="active"}']
        if active != self._size.brokers:
            raise BenchError(
                f"{active:g} of {self._size.brokers} brokers are active: none has died"
            )

    def _check_leaders(self, dead: set[str]) -> None:
        """See that every shard is led, and by somebody who lives."""
        for row in self._pages(ListPlacements()):
            assert isinstance(row, ShardPlacement)
            for one in row.placements:
                if not one.leader or one.leader in dead:
                    raise BenchError(f"{row.key} is led by {one.leader!r}: {one}")

    def _page(self, query: ListPlacements | ListStreams) -> Listing:
        """Ask any node. Raises: FelixError."""
        found = self._client.ask(query, Call(timeout_s=LOAD_TIMEOUT_S)).result
        assert isinstance(found, Listing)
        return found

    def _pages(self, query: ListPlacements | ListStreams) -> Iterator[Resource]:
        token = ""
        while True:
            page = self._page(
                msgspec.structs.replace(query, page_size=PAGE_SIZE_MAX, page_token=token)
            )
            yield from page.items
            token = page.next_page_token
            if not token:
                return

    def _check_created(self, names: list[str]) -> None:
        """See that nothing that was acknowledged is lost."""
        query = ListStreams(tenant_id=TENANT, namespace=NAMESPACE, filter=f"{LOAD_PREFIX}*")
        missing = set(names) - {row.key[-1] for row in self._pages(query)}
        if missing:
            raise BenchError(f"{len(missing)} acknowledged streams are lost: {missing}")

    # --- agreement ----------------------------------------------------------------------------

    def _agreed(self, meter: _Meter, since: float | None = None) -> dict[str, float]:
        """Wait until all brokers have what all nodes have. Raises: BenchError."""
        standings = self._until("all brokers have what the nodes have", self._agreement)
        wrong = [one for one in standings if one.mismatches]
        if wrong:
            raise BenchError(f"brokers had wrong caches: {wrong}")
        return {
            "agreed_s": clock() - (meter.began if since is None else since),
            "resyncs": sum(one.resyncs for one in standings),
        }

    def _place(self) -> ClusterStatus | None:
        """Give where the nodes are, if all are at the same place."""
        found = self._cluster.target.statuses()
        places = {(one.epoch, one.version, one.digest) for one in found}
        return found[0] if len(found) == NODES and len(places) == 1 else None

    def _agreement(self) -> list[Standing] | None:
        before = self._place()
        if before is None:
            return None
        standings = self._where()
        for one in standings:
            if one.version == before.version and (one.epoch, one.digest) != (
                before.epoch,
                before.digest,
            ):
                raise BenchError(f"{one} is wrong: the nodes are at {before}")
        is_same = all(one.is_registered and one.version == before.version for one in standings)
        return standings if is_same else None


class Written(msgspec.Struct):
    """What somebody saw who created streams one after the other."""

    names: list[str] = []
    """Of those that were acknowledged."""
    latencies_s: list[float] = []
    ended_at: list[float] = []

    def interruption_s(self, killed_at: float) -> float:
        """Say for how long at most nothing was acknowledged, from some time on."""
        times = [killed_at, *(one for one in self.ended_at if one > killed_at)]
        return max(after - before for before, after in pairwise(times))


def keep_creating(link: Connection, rpcs: list[str], shards: int) -> None:
    """Task: say "ready" after the first stream; create others until a word comes; send `Written`.

    A creation of which nobody knows what became of it is tried again under the same key.
    """
    written = Written()
    client = RpcClient([f"tcp://{one}" for one in rpcs])
    try:
        while not (written.names and link.poll(0)):
            name = f"{LOAD_PREFIX}-{len(written.names):06d}"
            begun_at = clock()
            call = Call(timeout_s=LOAD_TIMEOUT_S, idempotency_key=name)
            client.ask(replicated_stream(name, shards), call)
            written.names.append(name)
            written.ended_at.append(clock())
            written.latencies_s.append(written.ended_at[-1] - begun_at)
            if len(written.names) == 1:
                link.send("ready")
        link.send(written)
    finally:
        client.close()
