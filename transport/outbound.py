"""The only place from which the control plane fetches anything of the outside world.

A tenant's administrator says which URL, so neither the URL nor whoever answers is trusted: only
HTTPS, only public addresses, no redirects, no proxies, and bounds for size and time. The address
that was judged is the one that is connected to, so a name that changes its mind gains nothing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from typing import Any, Final, Literal, TypeAlias

import msgspec
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError, SSLError
from urllib3.util import Url, parse_url

CONNECT_S: Final = 2.0
TOTAL_S: Final = 5.0
"""For everything, from the look-up of the name to the last byte."""
BODY_BYTES_MAX: Final = 256 * 1024
URL_CHARS_MAX: Final = 2048
LOOKUPS_MAX: Final = 16
"""Look-ups of names at one time; one that hangs counts until the system gives it up."""
_CHUNK_BYTES: Final = 16 * 1024

Reason: TypeAlias = Literal[
    "bad_url",
    "insecure",
    "forbidden_address",
    "unresolved",
    "unreachable",
    "untrusted",
    "timeout",
    "redirect",
    "bad_status",
    "encoded",
    "too_large",
    "not_json",
    "busy",
]
IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup: TypeAlias = Callable[[str, int], Sequence[str]]
"""From a host's name and a port to its addresses; raises OSError."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_URL_CHARS: Final = re.compile(r"[!-~]+")


class FetchFailed(Exception):
    """Nothing usable was fetched."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def check_url(url: str, *, private_addresses: bool) -> Url:
    """Check what can be said of a URL without asking anybody. Raises: FetchFailed."""
    if len(url) > URL_CHARS_MAX or not _URL_CHARS.fullmatch(url) or "\\" in url:
        raise FetchFailed("bad_url", "not a URL")
    try:
        found = parse_url(url)
    except LocationParseError as error:
        raise FetchFailed("bad_url", "not a URL") from error
    if found.scheme not in {"https", "http"} or not found.host:
        raise FetchFailed("bad_url", "not an https URL")
    if found.auth is not None or found.fragment is not None:
        raise FetchFailed("bad_url", "a URL with credentials or a fragment is not fetched")
    if found.scheme == "http" and not private_addresses:
        raise FetchFailed("insecure", "only https is fetched")
    literal = _literal(found.host)
    if literal is not None and not _is_allowed(literal, found.scheme, private_addresses):
        raise FetchFailed("forbidden_address", f"{literal} is an address that is not asked")
    return found


class Outbound:
    """Fetches JSON documents; thread-safe."""

    def __init__(
        self,
        *,
        private_addresses: bool,
        ca_file: str | None = None,
        connect_s: float = CONNECT_S,
        total_s: float = TOTAL_S,
        lookup: Lookup | None = None,
    ) -> None:
        """`private_addresses` also allows loopback, and there http.

        `ca_file` says whom to trust in place of those whom the system trusts.
        """
        self.private_addresses = private_addresses
        self._connect_s = connect_s
        self._total_s = total_s
        self._lookup = lookup or _ask_system
        self._lookups = threading.BoundedSemaphore(LOOKUPS_MAX)
        self._ssl_context = ssl.create_default_context(cafile=ca_file)

    def get_json(self, url: str, deadline: float | None = None) -> bytes:
        """Fetch the JSON object at a URL; `deadline` is in `time.monotonic` seconds.

        Raises: FetchFailed.
        """
        own_deadline = time.monotonic() + self._total_s
        deadline = own_deadline if deadline is None else min(deadline, own_deadline)
        where = check_url(url, private_addresses=self.private_addresses)
        assert where.host is not None
        port = where.port or (443 if where.scheme == "https" else 80)
        addresses = self._addresses(where, port, deadline)
        guard = _Guard(deadline)
        connection = self._connection(where, port, addresses, guard)
        with contextlib.closing(connection), guard:
            try:
                body = _exchange(connection, where)
            except (HTTPError, HTTPException, OSError, ValueError) as error:
                raise _failure(error, guard) from error
        if guard.is_over:
            raise _timeout()
        return _checked(body)

    def _addresses(self, where: Url, port: int, deadline: float) -> list[IpAddress]:
        """Find where a host is, and leave out where nothing is to be asked."""
        assert where.host is not None
        assert where.scheme is not None
        literal = _literal(where.host)
        found = [literal] if literal else self._resolve(where.host, port, deadline)
        allowed = [one for one in found if _is_allowed(one, where.scheme, self.private_addresses)]
        if not allowed:
            raise FetchFailed(
                "forbidden_address", f"{where.host} is at an address that is not asked"
            )
        return allowed

    def _resolve(self, host: str, port: int, deadline: float) -> list[IpAddress]:
        """Look a name up; in a thread, because the system takes as long as it likes."""
        if not self._lookups.acquire(blocking=False):
            raise FetchFailed("busy", "too many names are being looked up")
        found: list[IpAddress] = []
        errors: list[OSError | ValueError] = []

        def look() -> None:
            try:
                found.extend(ipaddress.ip_address(one) for one in self._lookup(host, port))
            except (OSError, ValueError) as error:
                errors.append(error)
            finally:
                self._lookups.release()

        thread = threading.Thread(target=look, name="lookup", daemon=True)
        thread.start()
        thread.join(max(0.0, min(self._connect_s, deadline - time.monotonic())))
        if thread.is_alive():
            raise FetchFailed("timeout", f"the name {host} could not be looked up in time")
        if errors or not found:
            raise FetchFailed("unresolved", f"the name {host} is not known") from (
                errors[0] if errors else None
            )
        return found

    def _connection(
        self, where: Url, port: int, addresses: Sequence[IpAddress], guard: _Guard
    ) -> HTTPConnection:
        assert where.host is not None
        # Between two bytes nobody may wait longer than in all; `guard` sees to the whole.
        timeout = urllib3.Timeout(connect=self._connect_s, read=self._total_s)

        def connect() -> socket.socket:
            sock = _connect(addresses, port, min(self._connect_s, guard.left_s))
            sock.settimeout(self._total_s)
            guard.watch(sock)
            return sock

        host = where.host.strip("[]")
        if where.scheme == "http":
            return _Plain(host, port, connect, timeout)
        return _Secure(host, port, connect, timeout, self._ssl_context)


class _Plain(HTTPConnection):
    """A connection to an address that was judged before."""

    def __init__(
        self, host: str, port: int, connect: Callable[[], socket.socket], timeout: Any
    ) -> None:
        super().__init__(host, port, timeout=timeout.connect_timeout)
        self._connect = connect

    def _new_conn(self) -> socket.socket:
        return self._connect()


class _Secure(HTTPSConnection):
    """The same with TLS; certificate and SNI are held against the name."""

    def __init__(
        self,
        host: str,
        port: int,
        connect: Callable[[], socket.socket],
        timeout: Any,
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(host, port, timeout=timeout.connect_timeout, ssl_context=context)
        self._connect = connect

    def _new_conn(self) -> socket.socket:
        return self._connect()


class _Guard:
    """Cuts a connection off when the time is up, whatever is being waited for on it."""

    def __init__(self, deadline: float) -> None:
        self.is_over = False
        self._deadline = deadline
        self._timer: threading.Timer | None = None
        self._twin: socket.socket | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        if self._twin is not None:
            self._twin.close()

    @property
    def left_s(self) -> float:
        """The time that is left."""
        return max(0.0, self._deadline - time.monotonic())

    def watch(self, sock: socket.socket) -> None:
        """Begin; TLS takes the socket over, so this holds a twin of it."""
        self._twin = sock.dup()
        self._timer = threading.Timer(self.left_s, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        self.is_over = True
        assert self._twin is not None
        with contextlib.suppress(OSError):  # the other side has hung up already
            self._twin.shutdown(socket.SHUT_RDWR)


def _connect(addresses: Sequence[IpAddress], port: int, connect_s: float) -> socket.socket:
    """Connect to the first that takes it, all of them within `connect_s`."""
    deadline = time.monotonic() + connect_s
    error: OSError = TimeoutError("no time to connect")
    for address in addresses:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(remaining)
            sock.connect((str(address), port))
        except OSError as refused:
            sock.close()
            error = refused
        else:
            return sock
    raise error


def _exchange(connection: HTTPConnection, where: Url) -> bytes:
    """Ask, and read an answer that keeps to the rules."""
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": "felix-controlplane",
    }
    connection.request("GET", where.request_uri, headers=headers, preload_content=False)
    with contextlib.closing(connection.getresponse()) as response:
        return _read(response, where)


def _read(response: urllib3.BaseHTTPResponse, where: Url) -> bytes:
    if 300 <= response.status < 400:
        raise FetchFailed("redirect", f"{where.host} sends elsewhere, and nobody follows")
    if response.status != 200:
        raise FetchFailed("bad_status", f"{where.host} answered with status {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        raise FetchFailed("encoded", f"{where.host} sent what is compressed, unasked")
    announced = response.headers.get("Content-Length", "0")
    if not announced.isascii() or not announced.isdigit() or int(announced) > BODY_BYTES_MAX:
        raise FetchFailed("too_large", f"{where.host} announced {announced[:20]} bytes")
    return b"".join(_chunks(response, where))


def _chunks(response: urllib3.BaseHTTPResponse, where: Url) -> Iterator[bytes]:
    total = 0
    while chunk := response.read(_CHUNK_BYTES, decode_content=False):
        total += len(chunk)
        if total > BODY_BYTES_MAX:
            raise FetchFailed("too_large", f"{where.host} sent more than {BODY_BYTES_MAX} bytes")
        yield chunk


def _failure(error: Exception, guard: _Guard) -> FetchFailed:
    if guard.is_over:
        return _timeout()
    if isinstance(error, SSLError | ssl.SSLError):
        return FetchFailed("untrusted", f"no trusted TLS: {error}")
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return _timeout()
    return FetchFailed("unreachable", f"no answer: {error}")


def _timeout() -> FetchFailed:
    return FetchFailed("timeout", "no whole answer in time")


def _checked(body: bytes) -> bytes:
    """Make sure that it is a JSON object."""
    try:
        msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FetchFailed("not_json", "the answer is not a JSON object") from error
    return body


def _ask_system(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _is_allowed(address: IpAddress, scheme: str, private_addresses: bool) -> bool:
    """Say whether an address may be asked.

    Link-local ones never: there clouds tell machines their secrets. Nor those that are another
    address in disguise, except what NAT64 makes of one where there is only IPv6.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return _is_allowed(ipaddress.IPv4Address(address.packed[-4:]), scheme, False)
        disguised = address.ipv4_mapped or address.sixtofour or address.teredo
        if disguised or address.is_site_local or address.scope_id:
            return False
    if address.is_loopback:
        return private_addresses
    if scheme == "http" or address.is_multicast or address.is_link_local:
        return False
    if address.is_unspecified or address.is_reserved:
        return False
    return address.is_global or private_addresses
