"""What a token costs: exchanges per second of a worker's processor time, beside the signatures
alone; and what commits feel of it while every HTTP worker is busy with exchanges.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Literal

import msgspec
import urllib3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.errors import BenchError
from bench.machine import descendants, foreign_percent, spent
from bench.measure import Round, figures
from bench.ports import free_ports
from bench.stage import Plan, fresh_folder
from felix.identity.exchange import ExchangeRequest
from felix.identity.gatekeeper import Gatekeeper
from felix.identity.settings import IdentitySettings
from felix.proto.commands import UpdateTenant
from felix.proto.control_plane import Call
from felix.transport.curve import ClientCurve, read_key_pair
from felix.transport.rpc_client import RpcClient

Alg = Literal["ES256", "RS256"]

_ALGORITHMS: Final[tuple[Alg, ...]] = ("ES256", "RS256")
_CLIENTS: Final = 2
"""Processes; each has one request under way on each node."""
_WARMUP_S: Final = 1.0
_SECONDS: Final = 5.0
_COMMITS: Final = 1000
_START_S: Final = 60.0
_SIGNATURES_S: Final = 1.5
_DATA: Final = b"x" * 600
"""As long as what is signed in a token."""
_PORTS: Final = 30

_web = urllib3.PoolManager(retries=False, timeout=10.0)


class _Node(msgspec.Struct, frozen=True):
    name: str
    pid: int
    http: str
    rpc: str
    curve_key: str


class _Ready(msgspec.Struct, frozen=True):
    nodes: list[_Node]
    idp: str
    tenant: str
    admin_token: str
    curve_key_file: str


class _Done(msgspec.Struct, frozen=True):
    latencies_s: list[float]
    refused: list[str]


def run(plan: Plan) -> list[Round]:
    """Give every algorithm a turn in every round."""
    rounds = []
    for number in range(plan.rounds):
        with fresh_folder(plan.data_dir) as folder, _closed_cluster(Path(folder)) as ready:
            plan.say(f"exchange, round {number + 1} of {plan.rounds}: one worker")
            for alg in _ALGORITHMS:
                rounds += [_ceiling(alg), _without_http(ready, alg), _exchanges(ready, alg)]
            plan.say(f"exchange, round {number + 1} of {plan.rounds}: commits meanwhile")
            rounds += _commits(ready)
    return rounds


# --- the signatures alone -------------------------------------------------------------------------


def _ceiling(alg: Alg) -> Round:
    """Verify what a provider has signed and sign a token, in a loop, and nothing else."""
    verify = _verifier(alg)
    own = Ed25519PrivateKey.generate()
    latencies = []
    cpu, end = time.process_time(), time.perf_counter() + _SIGNATURES_S
    while (began := time.perf_counter()) < end:
        verify()
        own.sign(_DATA)
        latencies.append(time.perf_counter() - began)
    per_cpu_s = len(latencies) / (time.process_time() - cpu)
    return Round(figures("felix", f"signatures alone, {alg}", per_cpu_s, latencies))


def _verifier(alg: Alg) -> Callable[[], None]:
    if alg == "ES256":
        curve, ecdsa = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
        public, signature = curve.public_key(), curve.sign(_DATA, ecdsa)
        return lambda: public.verify(signature, _DATA, ecdsa)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pkcs, sha = padding.PKCS1v15(), hashes.SHA256()
    rsa_public, rsa_signature = key.public_key(), key.sign(_DATA, pkcs, sha)
    return lambda: rsa_public.verify(rsa_signature, _DATA, pkcs, sha)


def _without_http(ready: _Ready, alg: Alg) -> Round:
    """Exchange in this process, as a worker does, with all that a worker has learnt from a node."""
    settings = IdentitySettings(
        kek_file=str(Path(ready.curve_key_file).parent / "kek"), algorithms=_ALGORITHMS
    )
    client = _client_of(ready)
    try:
        gate, upstream = Gatekeeper(client, settings), _upstream(ready, alg)
        latencies = []
        gate.exchange(ready.tenant, upstream, ExchangeRequest(), Call())
        cpu, end = time.thread_time(), time.perf_counter() + _SIGNATURES_S
        while (began := time.perf_counter()) < end:
            gate.exchange(ready.tenant, upstream, ExchangeRequest(), Call())
            latencies.append(time.perf_counter() - began)
        per_cpu_s = len(latencies) / (time.thread_time() - cpu)
    finally:
        client.close()
    return Round(figures("felix", f"exchange without HTTP, {alg}", per_cpu_s, latencies))


# --- exchanges ------------------------------------------------------------------------------------


def _exchanges(ready: _Ready, alg: Alg) -> Round:
    """Keep the one worker of the first node busy; count what it does with its processor time."""
    node = ready.nodes[0]
    workers = _workers_of(node.pid)
    before = spent()
    with _load(ready, alg, [node.http]) as finish:
        time.sleep(_WARMUP_S)
        cpu_s, began = _cpu_s(workers), time.perf_counter()
        time.sleep(_SECONDS)
        done, seconds = finish(), time.perf_counter() - began
        used_s = _cpu_s(workers) - cpu_s
    share = seconds / (seconds + _WARMUP_S)
    count = sum(len(one.latencies_s) for one in done) * share
    notes = {
        "per_second": round(count / seconds, 1),
        "worker_cpu_percent": round(100 * used_s / seconds, 1),
        "foreign_cpu_percent": round(foreign_percent(before, spent()), 1),
    }
    latencies = [one for each in done for one in each.latencies_s]
    return Round(figures("felix", f"exchange over HTTP, {alg}", count / used_s, latencies), notes)


def _commits(ready: _Ready) -> list[Round]:
    """Write one after the other while nothing else happens, and while all workers exchange."""
    client = _client_of(ready)
    try:
        _write(client, ready.tenant, 100)
        idle = _write(client, ready.tenant, _COMMITS)
        with _load(ready, "ES256", [node.http for node in ready.nodes]) as finish:
            time.sleep(_WARMUP_S)
            busy = _write(client, ready.tenant, _COMMITS)
            done = finish()
    finally:
        client.close()
    exchanged = sum(len(one.latencies_s) for one in done)
    return [
        Round(figures("felix", "commit, idle", len(idle) / sum(idle), idle), {"exchanges": 0}),
        Round(
            figures("felix", "commit, workers saturated", len(busy) / sum(busy), busy),
            {"exchanges": exchanged},
        ),
    ]


def _client_of(ready: _Ready) -> RpcClient:
    pair = read_key_pair(Path(ready.curve_key_file))
    curve = ClientCurve(own=pair, server_keys=tuple(node.curve_key for node in ready.nodes))
    return RpcClient([f"tcp://{node.rpc}" for node in ready.nodes], curve=curve)


def _write(client: RpcClient, tenant: str, count: int) -> list[float]:
    latencies = []
    for number in range(count):
        began = time.perf_counter()
        client.ask(UpdateTenant(tenant_id=tenant, display_name=f"name {number}"), Call())
        latencies.append(time.perf_counter() - began)
    return latencies


@contextmanager
def _load(ready: _Ready, alg: Alg, places: list[str]) -> Iterator[Callable[[], list[_Done]]]:
    """Exchange tokens until the function that this gives is called."""
    upstream = _upstream(ready, alg)
    path = f"/v1/tenants/{ready.tenant}/token/exchange"
    context = multiprocessing.get_context("spawn")
    running = []
    for place in places:
        for _ in range(_CLIENTS):
            here, there = context.Pipe()
            process = context.Process(target=_client, args=(there, place, path, upstream))
            process.start()
            running.append((process, here))

    def finish() -> list[_Done]:
        for _, pipe in running:
            pipe.send(None)
        found = [msgspec.json.decode(pipe.recv_bytes(), type=_Done) for _, pipe in running]
        if refused := [text for one in found for text in one.refused]:
            raise BenchError(f"{len(refused)} exchanges were refused: {refused[0]}")
        return found

    try:
        yield finish
    finally:
        for process, _ in running:
            process.terminate()
            process.join()


def _client(pipe: Connection, place: str, path: str, upstream: str) -> None:
    # Elsewhere clients have a machine of their own: here they take what the cluster leaves.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    host, _, port = place.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    headers = {"Authorization": f"Bearer {upstream}"}
    latencies: list[float] = []
    refused: list[str] = []
    while not pipe.poll():
        began = time.perf_counter()
        connection.request("POST", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        latencies.append(time.perf_counter() - began)
        if answer.status != 200:
            refused.append(f"{answer.status} {body!r}")
    pipe.send_bytes(msgspec.json.encode(_Done(latencies, refused)))


def _upstream(ready: _Ready, alg: Alg) -> str:
    form = {"subject": "admin", "alg": alg}
    answer = _web.request("POST", f"{ready.idp}/token", fields=form, encode_multipart=False)
    token: str = answer.json()["id_token"]
    return token


# --- the cluster ----------------------------------------------------------------------------------


@contextmanager
def _closed_cluster(folder: Path) -> Iterator[_Ready]:
    """Run three nodes with closed doors and an identity provider."""
    file = folder / "ready.json"
    command = [sys.executable, "-m", "felix", "dev", "--nodes", "3", "--brokers", "0"]
    command += ["--data-dir", str(folder / "data"), "--ready-file", str(file)]
    command += ["--base-port", str(free_ports(_PORTS)[0])]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_S
        while not file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("the cluster did not start")
            time.sleep(0.05)
        yield msgspec.json.decode(file.read_bytes(), type=_Ready)
    finally:
        process.terminate()
        process.wait()


def _workers_of(pid: int) -> list[int]:
    """List the HTTP processes of a node: gunicorn's, and what they started."""
    return descendants(pid)


def _cpu_s(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9
