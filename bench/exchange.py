"""What a token costs: exchanges per second of a worker's processor time, beside the signatures
alone; and what commits feel of it while every HTTP worker is busy with exchanges.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.closed import (
    ALGORITHMS,
    FEW,
    MANY,
    PERMISSIONS,
    Algorithm,
    ClosedCluster,
    closed_cluster,
)
from bench.errors import BenchError
from bench.machine import cpu_s, descendants, foreign_percent, spent
from bench.measure import Figures, Round, figures
from bench.requests import Asked, Requests, ask_on
from bench.stage import LOAD_TIMEOUT_S, READY_TIMEOUT_S, Plan, fresh_folder
from bench.workers import Worker
from felix.identity.exchange import ExchangeRequest
from felix.identity.gatekeeper import Gatekeeper
from felix.identity.settings import IdentitySettings
from felix.proto.commands import UpdateTenant
from felix.proto.control_plane import Call
from felix.transport.rpc_client import RpcClient

_CASES: Final[tuple[tuple[Algorithm, str], ...]] = (
    ("ES256", FEW),
    ("RS256", FEW),
    ("ES256", MANY),
)
_CLIENTS: Final = 2
"""Processes for each node; each has one request under way."""
_WARMUP_S: Final = 1.0
_SIGNATURES_S: Final = 1.5
_TURNS: Final = 5
"""Of writing beside nothing and beside exchanges: other programs disturb both alike."""
_SIGNED_BYTES: Final = 600
"""As long as what is signed in a token with few permissions."""


def run(plan: Plan) -> list[Round]:
    """Give every case a turn in every round."""
    rounds = []
    for number in range(plan.rounds if "felix" in plan.systems else 0):
        with fresh_folder(plan.data_dir) as folder, closed_cluster(folder) as cluster:
            plan.say(f"exchange, round {number + 1} of {plan.rounds}: one worker")
            rounds.append(_http_alone(plan, cluster))
            for algorithm, subject in _CASES:
                rounds += _compared(plan, cluster, algorithm, subject)
            plan.say(f"exchange, round {number + 1} of {plan.rounds}: commits meanwhile")
            rounds += _commits(plan, cluster)
    return rounds


def _compared(
    plan: Plan, cluster: ClosedCluster, algorithm: Algorithm, subject: str
) -> list[Round]:
    """Hold exchanges, without HTTP and over it, against their signatures alone."""
    case = f"{algorithm}, {PERMISSIONS[subject]} permissions"
    ceiling = _ceiling(case, algorithm)
    inside = _without_http(case, cluster, algorithm, subject)
    path = f"/v1/tenants/{cluster.tenant}/token/exchange"
    token = cluster.upstream(subject, algorithm)
    over = _over_http(f"over HTTP, {case}", plan, cluster, Requests("POST", path, token))
    for one in (inside, over):
        one.notes["percent_of_signatures"] = round(
            100 * one.figures.ops_per_s / ceiling.figures.ops_per_s, 1
        )
    return [ceiling, inside, over]


# --- without HTTP ---------------------------------------------------------------------------------


def _ceiling(case: str, algorithm: Algorithm) -> Round:
    """Verify what a provider has signed and sign a token, in a loop, and nothing else."""
    verify, own, data = _verifier(algorithm), Ed25519PrivateKey.generate(), b"x" * _SIGNED_BYTES

    def once() -> None:
        verify()
        own.sign(data)

    return Round(_repeated(f"signatures, {case}", once))


def _verifier(algorithm: Algorithm) -> Callable[[], None]:
    data = b"x" * _SIGNED_BYTES
    if algorithm == "ES256":
        curve, ecdsa = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
        public, signature = curve.public_key(), curve.sign(data, ecdsa)
        return lambda: public.verify(signature, data, ecdsa)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pkcs, sha = padding.PKCS1v15(), hashes.SHA256()
    rsa_public, rsa_signature = key.public_key(), key.sign(data, pkcs, sha)
    return lambda: rsa_public.verify(rsa_signature, data, pkcs, sha)


def _without_http(case: str, cluster: ClosedCluster, algorithm: Algorithm, subject: str) -> Round:
    """Exchange in this process as a worker does, asking the node as a worker does."""
    settings = IdentitySettings(kek_file=cluster.kek_file, algorithms=ALGORITHMS)
    token, client = cluster.upstream(subject, algorithm), cluster.worker_client()
    try:
        gate = Gatekeeper(client, settings)
        gate.exchange(cluster.tenant, token, ExchangeRequest(), Call())
        summed = _repeated(
            f"in process, {case}",
            lambda: gate.exchange(cluster.tenant, token, ExchangeRequest(), Call()),
        )
    finally:
        client.close()
    return Round(summed, {})


def _repeated(case: str, once: Callable[[], object]) -> Figures:
    """Do something for a while; `ops_per_s` is per second of this thread's processor time."""
    latencies = []
    cpu, end = time.thread_time(), time.perf_counter() + _SIGNATURES_S
    while (began := time.perf_counter()) < end:
        once()
        latencies.append(time.perf_counter() - began)
    return figures("felix", case, len(latencies) / (time.thread_time() - cpu), latencies)


# --- over HTTP ------------------------------------------------------------------------------------


def _http_alone(plan: Plan, cluster: ClosedCluster) -> Round:
    """Ask for what the worker answers without a thought: what HTTP itself costs."""
    return _over_http("over HTTP, nothing", plan, cluster, Requests("GET", "/v1/system/info"))


def _over_http(case: str, plan: Plan, cluster: ClosedCluster, requests: Requests) -> Round:
    """Keep the worker of the first node busy; count what it does with its processor time."""
    node = cluster.nodes[0]
    processes = descendants(node.pid)
    with ExitStack() as stack:
        clients = _start(stack, [node.http], requests)
        time.sleep(_WARMUP_S)
        before, used_s, began = spent(), cpu_s(processes), time.monotonic()
        time.sleep(plan.seconds)
        after, used_s, ended = spent(), cpu_s(processes) - used_s, time.monotonic()
        latencies = _finish(clients, began, ended)
    notes = {
        "per_second": round(len(latencies) / (ended - began), 1),
        "cpu_us": round(1e6 * used_s / len(latencies), 1),
        "worker_cpu_percent": round(100 * used_s / (ended - began), 1),
        "foreign_cpu_percent": round(foreign_percent(before, after), 1),
    }
    return Round(figures("felix", case, len(latencies) / used_s, latencies), notes)


def _start(stack: ExitStack, places: list[str], requests: Requests) -> list[Worker]:
    """Start clients, and wait until they ask."""
    clients = [
        stack.enter_context(Worker(ask_on, place, requests))
        for place in places
        for _ in range(_CLIENTS)
    ]
    for client in clients:
        client.receive(str, READY_TIMEOUT_S)
    return clients


def _finish(clients: list[Worker], began: float, ended: float) -> list[float]:
    """Stop clients; give the latencies of what was answered within a span of time."""
    for client in clients:
        client.send("stop")
    done = [client.receive(Asked, LOAD_TIMEOUT_S) for client in clients]
    found = [
        latency
        for one in done
        for latency, at in zip(one.latencies_s, one.answered_at, strict=True)
        if began <= at <= ended
    ]
    if not found:
        raise BenchError("no request was answered")
    return found


# --- commits meanwhile ----------------------------------------------------------------------------


def _commits(plan: Plan, cluster: ClosedCluster) -> list[Round]:
    """Write one after the other while nothing else happens and while all workers exchange."""
    path = f"/v1/tenants/{cluster.tenant}/token/exchange"
    requests = Requests("POST", path, cluster.upstream(FEW, "ES256"))
    processes = [pid for node in cluster.nodes for pid in descendants(node.pid)]
    count = max(1, plan.count // _TURNS)
    calm: list[float] = []
    busy: list[float] = []
    rates: list[float] = []
    used_s = lasted_s = 0.0
    client, before = cluster.client(), spent()
    try:
        _write(client, cluster.tenant, count)
        for _ in range(_TURNS):
            calm += _write(client, cluster.tenant, count)
            with ExitStack() as stack:
                clients = _start(stack, [node.http for node in cluster.nodes], requests)
                time.sleep(_WARMUP_S)
                used, began = cpu_s(processes), time.monotonic()
                busy += _write(client, cluster.tenant, count)
                used_s, ended = used_s + cpu_s(processes) - used, time.monotonic()
                rates.append(len(_finish(clients, began, ended)) / (ended - began))
                lasted_s += ended - began
    finally:
        client.close()
    foreign = round(foreign_percent(before, spent()), 1)
    still = figures("felix", "commit, idle", len(calm) / sum(calm), calm)
    loud = figures("felix", "commit, workers busy", len(busy) / sum(busy), busy)
    notes = {
        "exchanges_per_second": round(median(rates), 1),
        "workers_cpu_percent": round(100 * used_s / lasted_s, 1),
        "p50_ratio": round(loud.p50_ms / still.p50_ms, 2),
        "p99_ratio": round(loud.p99_ms / still.p99_ms, 2),
        "foreign_cpu_percent": foreign,
    }
    return [Round(still, {"foreign_cpu_percent": foreign}), Round(loud, notes)]


def _write(client: RpcClient, tenant: str, count: int) -> list[float]:
    latencies = []
    for number in range(count):
        began = time.perf_counter()
        client.ask(UpdateTenant(tenant_id=tenant, display_name=f"name {number}"), Call())
        latencies.append(time.perf_counter() - began)
    return latencies
