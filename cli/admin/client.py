"""Asks the cluster over HTTP: any node will do, and the next one where one does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote, urlencode

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
from felix.http.views import WatchView
from felix.identity.discreet import Discreet

T = TypeVar("T", bound=msgspec.Struct)
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 10.0
"""Longer than a node takes to answer, if only with an error."""
ANSWER_BYTES_MAX: Final = 256 << 20
"""More than the snapshot of a large cluster: a server that never ends is still ended."""

CHUNK_BYTES: Final = 1 << 20
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
EXPECTED_VERSION: Final = "expected_version"

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


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the HTTP API."""

    method: Method = "GET"
    path: str
    query: dict[str, str | list[str]] = {}
    headers: dict[str, str] = {}
    body: Any = None
    """A record or JSON; None: there is none."""
    with_token: bool = True
    """False: it carries its own proof, or none."""
    patience_s: float = 0.0
    """How much longer than usual the answer may take."""

    @property
    def target(self) -> str:
        """Path and query."""
        return self.path + ("?" + urlencode(self.query, doseq=True) if self.query else "")

    @property
    def may_be_repeated(self) -> bool:
        """Whether asking twice has one effect."""
        return self.method == "GET" or IDEMPOTENCY_KEY in self.headers


class Reply(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    document: Any
    """JSON; None: there is none."""
    headers: dict[str, str]
    """By name in lower case."""


class AdminClient:
    """The cluster as an operator's tool sees it. Every method raises: AdminError."""

    def __init__(
        self, endpoints: list[str], access: Access | None = None, read_s: float = READ_TIMEOUT_S
    ) -> None:
        """`endpoints`: `host:port`, with or without `http://` or `https://`; tried in turn."""
        self._read_s = read_s
        self._access = access or Access()
        is_tls = bool(self._access.ca_file)
        self._bases = [base_url(endpoint, is_tls=is_tls) for endpoint in endpoints]
        self._http = urllib3.PoolManager(
            retries=False,
            ca_certs=self._access.ca_file or None,
        )

    @property
    def bases(self) -> list[str]:
        """The addresses that are asked, the best one first."""
        return list(self._bases)

    @property
    def access(self) -> Access:
        """How this client is let in."""
        return self._access

    def at_stranger(self, endpoint: str) -> AdminClient:
        """Give a client for a node of which nothing is known yet: it is not shown the token."""
        return AdminClient([endpoint], Access(ca_file=self._access.ca_file))

    def hasty(self, read_s: float) -> AdminClient:
        """Give a client that asks the first node only, and waits no longer than this."""
        return AdminClient(self._bases[:1], self._access, read_s)

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def cluster(self) -> ClusterView:
        """Look at the cluster through a node that knows a leader, if there is one."""
        found: ClusterView | None = None
        problems = []
        for base in list(self._bases):
            try:
                view = self._read(base, Request(path="/v1/cluster"), ClusterView)
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
        return self._read(self._bases[0], Request(path="/v1/system/node"), NodeView)

    def audit(self, query: str) -> AuditPageView:
        """Read a page of the audit trail; `query` is that of its URL."""
        return self._convert(self.ask(Request(path=f"/v1/audit?{query}")).document, AuditPageView)

    def watch(self, request: Request) -> WatchView:
        """Read updates of the metadata."""
        return self._convert(self.ask(request).document, WatchView)

    def ask(self, request: Request) -> Reply:
        """Ask in turn until a node answers; what may be done once only is sent once.

        Raises: Refused, and Unreachable or OutcomeUnknown when no node was left to be asked.
        """
        problems: list[str] = []
        unknown: OutcomeUnknown | None = None
        for base in list(self._bases):
            try:
                return self._ask_one(base, request)
            except Unreachable as error:
                problems.append(error.message)
            except OutcomeUnknown as error:
                if not request.may_be_repeated:
                    raise
                problems.append(error.message)
                unknown = error
        if unknown is not None and request.method != "GET":
            raise OutcomeUnknown("\n".join(problems), _ask_again(request))
        raise _nobody(problems)

    @contextmanager
    def download(self, request: Request) -> Iterator[Iterator[bytes]]:
        """Get what is a file, piece by piece, from the first node that gives it.

        Raises: as `ask` does, while the pieces are taken too.
        """
        problems: list[str] = []
        for base in list(self._bases):
            try:
                answer = self._send(base, request)
                if answer.status >= 400:
                    raise _refusal(base, answer.status, answer.read(ANSWER_BYTES_MAX))
            except (Unreachable, OutcomeUnknown) as error:
                problems.append(error.message)
                continue
            try:
                yield _pieces(base, answer)
            finally:
                answer.close()
            return
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
        reply = self.ask(Request(method=method, path=path, body=body))
        return self._convert(reply.document, ClusterView)

    def _read(self, base: str, request: Request, kind: type[T]) -> T:
        return self._convert(self._ask_one(base, request).document, kind)

    @staticmethod
    def _convert(document: Any, kind: type[T]) -> T:
        try:
            return msgspec.convert(document, kind)
        except msgspec.ValidationError as error:
            raise _stranger("the node", error) from error

    def _ask_one(self, base: str, request: Request) -> Reply:
        """Raises: Unreachable (not done), OutcomeUnknown, Refused."""
        answer = self._send(base, request)
        try:
            data = answer.read(ANSWER_BYTES_MAX + 1)
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise OutcomeUnknown(f"{base} did not answer: {error}") from error
        if answer.status >= 400:
            raise _refusal(base, answer.status, data)
        if len(data) > ANSWER_BYTES_MAX:
            answer.close()
            raise Refused(
                f"{base} answers with more than {ANSWER_BYTES_MAX >> 20} MiB",
                "ask for less: --limit or --filter",
            )
        headers = {name.lower(): value for name, value in answer.headers.items()}
        try:
            return Reply(answer.status, msgspec.json.decode(data) if data else None, headers)
        except msgspec.MsgspecError as error:
            raise _stranger(base, error) from error

    def _send(self, base: str, request: Request) -> urllib3.BaseHTTPResponse:
        """Send it and wait for the head of the answer. Raises: Unreachable, OutcomeUnknown."""
        headers = dict(request.headers)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if self._access.token and request.with_token:
            headers["Authorization"] = f"Bearer {self._access.token}"
        timeout = urllib3.Timeout(
            connect=min(CONNECT_TIMEOUT_S, self._read_s), read=self._read_s + request.patience_s
        )
        try:
            return self._http.request(
                request.method,
                base + request.target,
                body=None if request.body is None else msgspec.json.encode(request.body),
                headers=headers,
                timeout=timeout,
                redirect=False,  # the token is for this node, and no other
                preload_content=False,
            )
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError):
            raise Unreachable(f"{base} cannot be reached") from None
        except urllib3.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Unreachable(f"{base} has a certificate that nobody vouches for") from None
            raise Unreachable(f"{base} does not speak TLS") from None
        except urllib3.exceptions.HTTPError as error:
            raise OutcomeUnknown(f"{base} did not answer: {error}") from error


def _ask_again(request: Request) -> str:
    """Say how the very same request is sent again."""
    words = f"--idempotency-key {request.headers[IDEMPOTENCY_KEY]}"
    if EXPECTED_VERSION in request.query:  # it may have been read by this run alone
        words += f" --if-version {request.query[EXPECTED_VERSION]}"
    return f"run the same again with {words}: it is not done twice"


def _pieces(base: str, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        yield from answer.stream(CHUNK_BYTES)
    except urllib3.exceptions.HTTPError as error:
        raise Unreachable(
            f"{base} broke off in the middle: {error}", "run the same again, or ask another node"
        ) from error


def _stranger(base: str, error: msgspec.MsgspecError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{base} did not answer as a control plane of this version does: {error}",
        "check the address: it is the one of the HTTP API",
    )


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
    hint = HINTS.get(reason) or HINTS.get(envelope.code)
    return Refused(text, hint or LOOK, code=envelope.code, reason=reason)


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
