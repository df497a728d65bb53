"""The floor below which a replicated commit of this architecture cannot go.

One leader and two followers in three processes, ZeroMQ over loopback TCP, MessagePack, and SQLite
(WAL, synchronous=FULL) with group commit on every node. No RAFT logic, no state machine, no
actors: what is left is the price of sockets, encoding and disks. Quote the ratio to a commit
benchmark of the same run.

    python -m bench.floor_commit [--json FILE] [--dir DIR] [--port PORT]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import shutil
import sqlite3
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgpack
import zmq

from bench.measure import figures
from bench.ports import free_ports

VALUE = os.urandom(256)
HOST = "tcp://127.0.0.1:"

Entry = tuple[int, int, bytes]
"""Index, term, value."""


def open_log(path: str) -> sqlite3.Connection:
    """Open a log as durable as the journal."""
    log = sqlite3.connect(path, isolation_level=None)
    for statement in (
        "pragma locking_mode=exclusive",
        "pragma journal_mode=wal",
        "pragma synchronous=full",
        "create table log(i integer primary key, t int, d blob)",
    ):
        log.execute(statement)
    return log


def append(log: sqlite3.Connection, entries: list[Entry]) -> None:
    """Sync a batch to the disk."""
    log.execute("begin")
    log.executemany("insert into log values(?,?,?)", entries)
    log.execute("commit")


def follower(port: int, path: str) -> None:
    """Append what comes, acknowledge the last index."""
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind(f"{HOST}{port}")
    log = open_log(path)
    while True:
        sender, frame = socket.recv_multipart()
        entries = msgpack.unpackb(frame)
        while socket.poll(0):
            entries += msgpack.unpackb(socket.recv_multipart()[1])
        append(log, entries)
        socket.send_multipart([sender, msgpack.packb(entries[-1][0])])


def leader(port: int, follower_ports: list[int], path: str) -> None:
    """Batch what has come, send it to the followers, sync, answer at a quorum."""
    context = zmq.Context()
    clients = context.socket(zmq.ROUTER)
    clients.bind(f"{HOST}{port}")
    followers = [context.socket(zmq.DEALER) for _ in follower_ports]
    poller = zmq.Poller()
    poller.register(clients, zmq.POLLIN)
    for socket, follower_port in zip(followers, follower_ports, strict=True):
        socket.connect(f"{HOST}{follower_port}")
        poller.register(socket, zmq.POLLIN)
    log = open_log(path)
    index, matched = 0, [0] * (1 + len(followers))
    waiting: deque[tuple[int, bytes]] = deque()
    while True:
        ready = dict(poller.poll())
        batch: list[Entry] = []
        while clients in ready and clients.poll(0):
            sender, value = clients.recv_multipart()
            index += 1
            batch.append((index, 1, value))
            waiting.append((index, sender))
        if batch:
            frame = msgpack.packb(batch)
            for socket in followers:
                socket.send(frame)
            append(log, batch)
            matched[0] = index
        for n, socket in enumerate(followers, 1):
            while socket in ready and socket.poll(0):
                matched[n] = msgpack.unpackb(socket.recv())
        committed = sorted(matched)[len(matched) // 2]
        while waiting and waiting[0][0] <= committed:
            clients.send_multipart([waiting.popleft()[1], b""])


def client(port: int, count: int, window: int, results: mp.Queue[list[float]]) -> None:
    """Keep a window of writes outstanding; put the latencies in seconds."""
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(f"{HOST}{port}")
    sent: deque[float] = deque()
    latencies: list[float] = []
    for n in range(count + window):
        if n >= window:
            socket.recv()
            latencies.append(time.perf_counter() - sent.popleft())
        if n < count:
            sent.append(time.perf_counter())
            socket.send(VALUE)
    results.put(latencies)


def measure(port: int, clients: int, window: int, count: int) -> dict[str, float]:
    """Run clients that commit `count` values together."""
    results: mp.Queue[list[float]] = mp.Queue()
    started = time.perf_counter()
    workers = [
        mp.Process(target=client, args=(port, count // clients, window, results))
        for _ in range(clients)
    ]
    for worker in workers:
        worker.start()
    latencies = [latency for _ in workers for latency in results.get()]
    elapsed = time.perf_counter() - started
    for worker in workers:
        worker.join()
    row = figures("floor", "", len(latencies) / elapsed, latencies)
    return {
        "in_flight": clients * window,
        "commits_per_s": row.ops_per_s,
        "p50_ms": row.p50_ms,
        "p90_ms": row.p90_ms,
        "p99_ms": row.p99_ms,
        "max_ms": row.max_ms,
    }


def options() -> Any:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The floor of a replicated commit.")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--dir", help="folder on the disk to be measured")
    parser.add_argument("--port", type=int, help="first of three ports; free ones by default")
    return parser.parse_args()


def main() -> None:
    """Measure one client in sequence, and two with 32 in flight each."""
    given = options()
    folder = tempfile.mkdtemp(prefix="floor-", dir=given.dir)
    ports = [given.port + n for n in range(3)] if given.port else free_ports(3)
    nodes = [
        mp.Process(target=follower, args=(port, f"{folder}/{port}.db"), daemon=True)
        for port in ports[1:]
    ]
    nodes.append(
        mp.Process(target=leader, args=(ports[0], ports[1:], f"{folder}/leader.db"), daemon=True)
    )
    try:
        for node in nodes:
            node.start()
        measure(ports[0], 1, 1, 200)
        rows = [measure(ports[0], 1, 1, 2000), measure(ports[0], 2, 32, 20000)]
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(folder, ignore_errors=True)
    for row in rows:
        print(row)
    if given.json:
        Path(given.json).write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
