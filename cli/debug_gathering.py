"""Asks every node of a cluster for all that it says of itself; none of it needs a quorum."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
import urllib3

from felix.cli.admin.client import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Access
from felix.cli.debug_bundle import Bundle, folder_name
from felix.http.cluster_views import ClusterView
from felix.http.errors import Envelope
from felix.http.node_report import NodeReport

NODES_AT_ONCE: Final = 8
DOCUMENT_BYTES_MAX: Final = 32 << 20
OF_THE_API: Final = {
    "node.json": "/v1/system/node",
    "health.json": "/v1/system/health",
    "cluster.json": "/v1/cluster?consistency=stale",
    "report.json": "/v1/system/report",
}
OF_THE_PROBES: Final = {"metrics.txt": "/metrics", "live.txt": "/live", "ready.txt": "/ready"}
OF_THE_CLUSTER: Final = {
    "brokers.json": "/v1/brokers?consistency=stale",
    "shard-moves.json": "/v1/shard-moves?consistency=stale",
    "placement-plan.json": "/v1/placement/plan",
}
"""Asked of one node after the other, until one answers."""


UNKNOWN: Final = "its address is not known: /v1/cluster says it, or --metrics-endpoint"


class Node(msgspec.Struct):
    """A node, as far as it is known."""

    name: str
    id: str = ""
    http: str = ""
    """Base of its API, with the scheme."""
    metrics: str = ""
    documents: dict[str, bytes] = {}
    missing: list[tuple[str, str]] = []
    """What, and why."""


class Unanswered(Exception):
    """A document could not be had."""

    def __init__(self, why: str, *, is_silent: bool) -> None:
        super().__init__(why)
        self.is_silent = is_silent
        """Nobody is there: to ask for more is of no use."""


class Fetcher:
    """Gets documents; any thread may."""

    def __init__(self, access: Access) -> None:
        self._token = access.token
        self._http = urllib3.PoolManager(
            maxsize=NODES_AT_ONCE,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            ca_certs=access.ca_file or None,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def of_the_api(self, base: str, path: str) -> bytes:
        """Get a document of the HTTP API, with the token. Raises: Unanswered."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        status, data = self._get(base + path, headers)
        if status >= 400:
            raise Unanswered(_reason(status, data), is_silent=False)
        return data

    def of_the_probes(self, base: str, path: str) -> bytes:
        """Get a document of the metrics listener, to which the token is nobody's business.

        A probe that says no has answered. Raises: Unanswered.
        """
        status, data = self._get(base + path, {})
        return data if path == "/metrics" else f"{status} ".encode() + data + b"\n"

    def _get(self, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            answer = self._http.request(
                "GET", url, headers=headers, redirect=False, preload_content=False
            )
            data = answer.read(DOCUMENT_BYTES_MAX)
            answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            why = f"{type(error).__name__}: it does not answer"
            raise Unanswered(why, is_silent=True) from error
        return answer.status, data


def gather(bundle: Bundle, fetcher: Fetcher, bases: list[str], metrics: list[str]) -> int:
    """Fill a bundle from the nodes at these addresses, and all that they know; count who answered.

    `bases` are those of the HTTP API; `metrics` listeners that are asked besides.
    """
    scheme = bases[0].partition("://")[0]
    nodes = _find_nodes(fetcher, bases)
    known = {node.metrics for node in nodes}
    nodes += [
        Node(one, metrics=f"{scheme}://{one}")
        for one in metrics
        if f"{scheme}://{one}" not in known
    ]
    with ThreadPoolExecutor(NODES_AT_ONCE) as pool:
        list(pool.map(lambda node: _ask(fetcher, node), nodes))
    taken: list[str] = []
    for node in sorted(nodes, key=lambda one: one.name):
        folder = folder_name(node.name, taken)
        taken.append(folder)
        for document, data in node.documents.items():
            if document == "report.json":
                _add_report(bundle, folder, data)
            else:
                bundle.add(f"nodes/{folder}/{document}", data)
        for what, why in node.missing:
            bundle.miss(folder, what, why)
    bundle.add_record("integrity.json", integrity_of(nodes))
    answering = [node for node in nodes if node.documents]
    _ask_for_the_cluster(bundle, fetcher, [node.http for node in answering if node.http])
    return len(answering)


def _add_report(bundle: Bundle, folder: str, data: bytes) -> None:
    """Put a node's report in, and the configuration in it as a file of its own."""
    try:
        report = msgspec.json.decode(data, type=NodeReport)
    except msgspec.MsgspecError as error:
        bundle.miss(folder, "report.json", f"it is not what this version knows: {error}")
        return
    bundle.add(f"nodes/{folder}/config.yaml", report.config.encode())
    bundle.add_record(
        f"nodes/{folder}/report.json", msgspec.structs.replace(report, config="config.yaml")
    )


def _find_nodes(fetcher: Fetcher, bases: list[str]) -> list[Node]:
    """List the nodes at these addresses, and the members that they know."""
    strangers: list[Node] = []
    by_id: dict[str, Node] = {}
    at: dict[str, str] = {}
    for base in bases:
        view = _view_of(fetcher, base)
        if view is None:
            strangers.append(Node(base.partition("://")[2], http=base))
            continue
        at[view.node_id] = base
        scheme = base.partition("://")[0]
        for one in view.members:
            node = by_id.setdefault(one.id, Node(one.name, id=one.id))
            for listener in ("http", "metrics"):
                if one.addresses.get(listener):
                    setattr(node, listener, f"{scheme}://{one.addresses[listener]}")
    for node_id, base in at.items():
        if node_id in by_id:
            by_id[node_id].http = base  # where we reach it, whatever the others say
    reached = {node.http for node in by_id.values()}
    return [*by_id.values(), *(one for one in strangers if one.http not in reached)]


def _view_of(fetcher: Fetcher, base: str) -> ClusterView | None:
    try:
        data = fetcher.of_the_api(base, OF_THE_API["cluster.json"])
        return msgspec.json.decode(data, type=ClusterView)
    except (Unanswered, msgspec.MsgspecError):
        return None


def _ask(fetcher: Fetcher, node: Node) -> None:
    listeners: tuple[tuple[str, dict[str, str], Callable[[str, str], bytes]], ...] = (
        (node.http, OF_THE_API, fetcher.of_the_api),
        (node.metrics, OF_THE_PROBES, fetcher.of_the_probes),
    )
    for base, documents, fetch in listeners:
        silence = "" if base else UNKNOWN
        for document, path in documents.items():
            if silence:
                node.missing.append((document, silence))
                continue
            try:
                node.documents[document] = fetch(base, path)
            except Unanswered as error:
                node.missing.append((document, f"{base}: {error}"))
                silence = f"{base}: {error}" if error.is_silent else ""


def _ask_for_the_cluster(bundle: Bundle, fetcher: Fetcher, bases: list[str]) -> None:
    for document, path in OF_THE_CLUSTER.items():
        why = "no node answers"
        for base in bases:
            try:
                bundle.add(f"cluster/{document}", fetcher.of_the_api(base, path))
            except Unanswered as error:
                why = f"{base}: {error}"
                continue
            break
        else:
            bundle.miss("cluster", document, why)


def _reason(status: int, data: bytes) -> str:
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except msgspec.MsgspecError:
        return f"status {status}, and not as a control plane answers"
    return f"status {status}, {envelope.code}: {envelope.message}"


# --- integrity ------------------------------------------------------------------------------------


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node stands by what it says itself."""

    node: str
    node_id: str
    leader_id: str | None
    term: int
    applied_index: int
    epoch: int
    version: int
    digest: str
    """Of all metadata at that version."""
    alarms: list[str]


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """`integrity.json`: whether the nodes have the same, as far as they can be compared."""

    verdict: str
    """`agree`, `disagree`, or `nothing to compare`: no two nodes were at the same version."""
    disagreements: list[str]
    standings: list[Standing]


def integrity_of(nodes: list[Node]) -> Integrity:
    """Hold what nodes have at the same version against each other."""
    standings = []
    for node in nodes:
        try:
            view = msgspec.json.decode(node.documents.get("cluster.json", b""), type=ClusterView)
        except msgspec.MsgspecError:
            continue
        if view.node_id == node.id:
            standings.append(
                Standing(
                    node=node.name,
                    node_id=node.id,
                    leader_id=view.leader_id,
                    term=view.term,
                    applied_index=view.applied_index,
                    epoch=view.epoch,
                    version=view.version,
                    digest=view.digest,
                    alarms=view.alarms,
                )
            )
    by_version: dict[tuple[int, int], list[Standing]] = {}
    for one in standings:
        by_version.setdefault((one.epoch, one.version), []).append(one)
    compared = {at: found for at, found in by_version.items() if len(found) > 1}
    wrong = [
        f"at version {version} of epoch {epoch}: "
        + ", ".join(f"{one.node} has {one.digest}" for one in found)
        for (epoch, version), found in compared.items()
        if len({one.digest for one in found}) > 1
    ]
    verdict = "disagree" if wrong else "agree" if compared else "nothing to compare"
    return Integrity(verdict=verdict, disagreements=wrong, standings=standings)
