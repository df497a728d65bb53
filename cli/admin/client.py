"""Asks the cluster over HTTP: any node will do, and the next one where one does not answer."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeVar
from urllib.parse import quote

import msgspec
import urllib3

from felix.cli.admin.errors import (
    HINTS,
    LOOK,
    AdminError,
    OutcomeUnknown,
    Refused,
    Unreachable,
    Usage,
    plain,
)
from felix.http.audit_views import AuditPageView
from felix.http.bodies import NewMember, Transfer
from felix.http.cluster_views import ClusterView, NodeView
from felix.http.errors import Envelope
from felix.identity.discreet import Discreet

T = TypeVar("T", bound=msgspec.Struct)

CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 10.0
"""Longer than a node takes to answer, if only with an error."""
ANSWER_BYTES_MAX: Final = 4 << 20

NOT_NOW: Final = frozenset({"no_leader", "not_leader", "shutting_down", "overloaded"})
"""Not applied, and another node may do better."""
_ENDPOINT: Final = re.compile(
    r"(?:(https?)://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})/?"
)


class Access(Discreet, frozen=True):
    """How to be let in, and how to know that it is the right door."""

    token: str = ""
    ca_file: str = ""
    """Authorities that vouch for nodes; empty: those of this system."""


class AdminClient:
    """The cluster as an operator's tool sees it. Every method raises: AdminError."""

    def __init__(self, endpoints: list[str], access: Access | None = None) -> None:
        """`endpoints`: `host:port`, with or without `http://` or `https://`; tried in turn."""
        self._access = access or Access()
        is_tls = bool(self._access.ca_file)
        self._bases = [base_url(endpoint, is_tls=is_tls) for endpoint in endpoints]
        self._http = urllib3.PoolManager(
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            ca_certs=self._access.ca_file or None,
        )

    def at_stranger(self, endpoint: str) -> AdminClient:
        """Give a client for a node of which nothing is known yet: it is not shown the token."""
        return AdminClient([endpoint], Access(ca_file=self._access.ca_file))

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def cluster(self) -> ClusterView:
        """Look at the cluster through a node that knows a leader, if there is one."""
        found: ClusterView | None = None
        problems = []
        for base in list(self._bases):
            try:
                view = self._ask_one(base, "GET", "/v1/cluster", None, ClusterView)
            except (Unreachable, OutcomeUnknown) as error:
                problems.append(error.message)
                continue
            if view.leader_id is not None:
                self._bases.remove(base)
                self._bases.insert(0, base)  # it is asked first from now on
                return view
            found = found or view
        if found is None:
            raise _nobody(problems)
        return found

    def self_description(self) -> NodeView:
        """Ask a node who it is; that needs no token."""
        return self._ask_one(self._bases[0], "GET", "/v1/system/node", None, NodeView)

    def audit(self, query: str) -> AuditPageView:
        """Read a page of the audit trail; `query` is that of its URL."""
        problems = []
        for base in self._bases:
            try:
                return self._ask_one(base, "GET", f"/v1/audit?{query}", None, AuditPageView)
            except (Unreachable, OutcomeUnknown) as error:
                problems.append(error.message)
        raise _nobody(problems)

    def add_member(self, body: NewMember) -> ClusterView:
        """Take a node in as a learner."""
        return self._change("POST", "/v1/cluster/members", body)

    def remove_member(self, member_id: str) -> ClusterView:
        """Let a member leave."""
        return self._change("DELETE", f"/v1/cluster/members/{quote(member_id, safe='')}", None)

    def transfer(self, target: str) -> ClusterView:
        """Hand leadership over."""
        return self._change("POST", "/v1/cluster/leadership/transfer", Transfer(target))

    def _change(
        self, method: Literal["POST", "DELETE"], path: str, body: msgspec.Struct | None
    ) -> ClusterView:
        problems = []
        for base in self._bases:
            try:
                return self._ask_one(base, method, path, body, ClusterView)
            except Unreachable as error:
                problems.append(error.message)
        raise _nobody(problems)

    def _ask_one(
        self, base: str, method: str, path: str, body: msgspec.Struct | None, kind: type[T]
    ) -> T:
        """Raises: Unreachable (not done), OutcomeUnknown, Refused."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        if self._access.token:
            headers["Authorization"] = f"Bearer {self._access.token}"
        try:
            answer = self._http.request(
                method,
                base + path,
                body=None if body is None else msgspec.json.encode(body),
                headers=headers,
                redirect=False,  # the token is for this node, and no other
                preload_content=False,
            )
            data = answer.read(ANSWER_BYTES_MAX)
            answer.release_conn()
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError):
            raise Unreachable(f"{base} cannot be reached") from None
        except urllib3.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Unreachable(f"{base} has a certificate that nobody vouches for") from None
            raise Unreachable(f"{base} does not speak TLS") from None
        except urllib3.exceptions.HTTPError as error:
            raise OutcomeUnknown(f"{base} did not answer: {error}") from error
        if answer.status >= 400:
            raise _refusal(base, answer.status, data)
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as error:
            raise OutcomeUnknown(
                f"{base} did not answer as a control plane of this version does: {error}",
                "check the address: it is the one of the HTTP API",
            ) from error


def base_url(endpoint: str, *, is_tls: bool = False) -> str:
    """Read where a node's HTTP API is; `is_tls`: what counts if it does not say. Raises: Usage."""
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or not 0 < int(match[3]) < 65536:
        raise Usage(
            f"{endpoint!r} is not an endpoint",
            "write host:port, of the HTTP API: --endpoint 127.0.0.1:8443",
        )
    scheme = match[1] or ("https" if is_tls else "http")
    return f"{scheme}://{match[2]}:{match[3]}"


def _refusal(base: str, status: int, data: bytes) -> AdminError:
    """Turn an answer that is an error into ours."""
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except msgspec.MsgspecError:
        return Unreachable(
            f"{base} answers with status {status}, and not as a control plane does",
            "check the address: it is the one of the HTTP API",
        )
    text = plain(f"{envelope.message} ({envelope.code})")
    if envelope.code in NOT_NOW:
        return Unreachable(f"{base}: {text}")
    if status in {500, 503}:
        return OutcomeUnknown(
            f"{base}: {text}", "see whether it was done: felix-admin cluster status"
        )
    reason = str(envelope.details.get("reason", ""))
    return Refused(text, HINTS.get(reason) or HINTS.get(envelope.code) or LOOK)


def _nobody(problems: list[str]) -> Unreachable:
    return Unreachable(
        "no node can do this now\n" + "\n".join(f"  {problem}" for problem in problems),
        _hint_for(problems),
    )


def _hint_for(problems: list[str]) -> str:
    said = " ".join(problems)
    if "vouches for" in said:
        return "name who signed it: --ca-file FILE or FELIX_ADMIN_CA_FILE"
    if "does not speak TLS" in said:
        return "write http:// before the address, if that is meant"
    return "name other nodes with --endpoint or FELIX_ADMIN_ENDPOINTS, and see that they run"
