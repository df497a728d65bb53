"""Load generators: in sequence, with a window, at a pace; and those who listen."""

from __future__ import annotations

import select
import time
from array import array
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection

import msgspec

from bench.errors import BenchError
from bench.systems import Pipe, Subscription, Target, Work

clock = time.monotonic
"""Seconds; the same clock in every process of the machine."""


class Load(msgspec.Struct):
    """What a writer saw."""

    latencies_s: list[float] = []
    """From handing a request to the connection to having its answer."""
    marks: list[int] = []
    acknowledged_at: list[float] = []
    """By order of acknowledgement, like `marks`."""
    started_at: float = 0.0
    ended_at: float = 0.0
    cpu_share: float = 0.0
    """Of one core, taken by the writer's process."""

    @property
    def per_second(self) -> float:
        """Acknowledged writes per second."""
        return len(self.marks) / (self.ended_at - self.started_at)

    def note(self, mark: int, sent_at: float, now: float) -> None:
        """Add one acknowledged write."""
        self.latencies_s.append(now - sent_at)
        self.marks.append(mark)
        self.acknowledged_at.append(now)


def sequential(
    pipe: Pipe, numbers: Iterable[int], seconds: float | None = None, pace_s: float = 0.0
) -> Load:
    """Write one after the other; with a pace, start each no earlier than its place in it."""
    load = Load(started_at=clock())
    cpu = time.process_time()
    due = load.started_at
    for number in numbers:
        if pace_s:
            time.sleep(max(0.0, due - clock()))
            due += pace_s
        sent_at = clock()
        pipe.send((number,))
        (answer,) = pipe.receive()
        load.note(answer.mark, sent_at, clock())
        if seconds is not None and load.acknowledged_at[-1] - load.started_at > seconds:
            break
    load.ended_at = load.acknowledged_at[-1]
    load.cpu_share = (time.process_time() - cpu) / (load.ended_at - load.started_at)
    return load


def windowed(pipe: Pipe, count: int, window: int, seconds: float | None = None) -> Load:
    """Keep `window` writes outstanding until `count` are sent or the time is up."""
    load = Load(started_at=clock())
    cpu = time.process_time()
    sent_at = array("d", [load.started_at]) * count
    ends_at = load.started_at + seconds if seconds is not None else float("inf")
    sent = min(window, count)
    pipe.send(range(sent))
    while len(load.marks) < sent:
        answers = pipe.receive()
        now = clock()
        for answer in answers:
            load.note(answer.mark, sent_at[answer.number], now)
        if now < ends_at and sent < count:
            upto = min(count, sent + len(answers))
            for number in range(sent, upto):
                sent_at[number] = now
            pipe.send(range(sent, upto))
            sent = upto
    load.ended_at = load.acknowledged_at[-1]
    load.cpu_share = (time.process_time() - cpu) / (load.ended_at - load.started_at)
    return load


class Order(msgspec.Struct, frozen=True):
    """What a writer is to do."""

    node: int
    work: Work
    base: int = 0
    window: int = 1
    seconds: float | None = None
    pace_s: float = 0.0
    warmup: int = 0
    """So many of the first writes are not counted; with a window of 1 only."""


def write(link: Connection, target: Target, order: Order) -> None:
    """Task: connect and encode, say "ready", wait for a word, write, send the `Load`."""
    pipe = target.pipe(order.node, order.work, order.base)
    try:
        sequential(pipe, range(order.warmup)) if order.warmup else None
        link.send("ready")
        link.recv()
        if order.window > 1:
            load = windowed(pipe, order.work.count, order.window, order.seconds)
        else:
            numbers = range(order.warmup, order.work.count)
            load = sequential(pipe, numbers, order.seconds, order.pace_s)
        link.send(load)
    finally:
        pipe.close()


class Heard(msgspec.Struct, frozen=True):
    """What the subscribers of one process received."""

    arrived_at: list[array[float]]
    """For each subscriber, by mark: monotonic seconds."""
    cpu_s: float


class Audience(msgspec.Struct, frozen=True):
    """Subscribers of one process, and what they are to hear."""

    nodes: list[int]
    """For each subscriber the node it connects to."""
    prefix: str
    base: int
    count: int
    timeout_s: float


def listen(link: Connection, target: Target, audience: Audience) -> None:
    """Task: subscribe, say "ready", hear all writes with every subscriber, send `Heard`."""
    prefix, base, count = audience.prefix, audience.base, audience.count
    poll = select.epoll()
    subscribers = [target.subscribe(node, prefix, base, count) for node in audience.nodes]
    try:
        by_descriptor = {one.fileno(): one for one in subscribers}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)
        deadline = clock() + audience.timeout_s
        for one in subscribers:
            one.drain()
        _drain_until(lambda one: one.ready, poll, by_descriptor, deadline)
        link.send("ready")
        cpu = time.process_time()
        _drain_until(lambda one: one.received == count, poll, by_descriptor, deadline)
        cpu_s = time.process_time() - cpu
        link.send(Heard([array("d", one.arrived_at) for one in subscribers], cpu_s))
    finally:
        poll.close()
        for one in subscribers:
            one.close()


def _drain_until(
    enough: Callable[[Subscription], bool],
    poll: select.epoll,
    by_descriptor: dict[int, Subscription],
    deadline: float,
) -> None:
    waiting = {number for number, one in by_descriptor.items() if not enough(one)}
    while waiting:
        if clock() > deadline:
            least = min(one.received for one in by_descriptor.values())
            raise BenchError(f"{len(waiting)} subscribers are late; one has {least} updates only")
        for descriptor, _events in poll.poll(1.0):
            one = by_descriptor[descriptor]
            one.drain()
            if enough(one):
                waiting.discard(descriptor)
