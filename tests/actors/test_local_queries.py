"""Queries that IdpKeys answers, over the RPC socket and back."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pykka
import pytest
import zmq

from felix.actors.idp_keys import IdpKeys
from felix.actors.local_queries import ISSUERS, LocalQueries
from felix.actors.messages import ActorRef, Attach, GetStatistics, LocalAnswer
from felix.core.catalog.store import Store
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError, IdpUnavailable, NotFound
from felix.proto.identity import IdpIssuer, IssuerProbe, Jwks
from felix.proto.queries import GetIssuerKeys, ProbeIssuer
from felix.transport.outbound import Outbound
from felix.transport.rpc_client import RpcClient
from felix.transport.rpc_server import RpcServer
from felix.transport.socket_actor import SocketActor, handles
from tests.support.idp_server import IdpServer, idp_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

SWEEP_S = 0.02


class _Sweep(msgspec.Struct, frozen=True):
    pass


class FrontDoor(SocketActor):
    """What RaftNode does for these queries, and nothing else of it."""

    def __init__(self, endpoint: str, store: Store, idp_keys: ActorRef) -> None:
        super().__init__(lambda *_: None)
        self._endpoint = endpoint
        self._store = store
        self._idp_keys = idp_keys

    def acquire(self) -> None:
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._rpc = RpcServer(self._context, [self._endpoint])
        self._local = LocalQueries(self._rpc, self.actor_ref, self._idp_keys)
        self.listen(self._rpc.socket, self._hear)
        self.after(SWEEP_S, _Sweep())

    def release(self) -> None:
        self._rpc.close()
        self._context.destroy(linger=0)

    def _hear(self, frames: list[bytes]) -> None:
        incoming = self._rpc.take(frames)
        assert incoming is not None
        try:
            self._local.take(incoming, self._store)
        except FelixError as error:
            self._rpc.refuse(incoming.route, incoming.request.id, error)

    @handles(LocalAnswer)
    def _answered(self, message: LocalAnswer) -> None:
        self._local.answered(message, 7)

    @handles(Attach)
    def _attach(self, message: Attach) -> None:
        self._local.attach(message.idp_keys)

    @handles(_Sweep)
    def _sweep(self, message: _Sweep) -> None:
        self._local.sweep(time.monotonic())
        self.after(SWEEP_S, message)

    @handles(GetStatistics)
    def _statistics(self, _: GetStatistics) -> int:
        return len(self._local)


class Door:
    """The node's side, and a client."""

    def __init__(self, endpoint: str) -> None:
        self.store = Store(("Tenant", ISSUERS))
        self.idp_keys = self._start_idp_keys()
        self.actor: pykka.ActorRef[FrontDoor] = FrontDoor.start(endpoint, self.store, self.idp_keys)
        self._waiting()  # the socket is bound
        self.client = RpcClient(endpoint)

    def trust(self, tenant_id: str, idp: IdpServer, jwks_url: str | None = None) -> None:
        row = IdpIssuer(
            tenant_id=tenant_id, issuer=idp.issuer, audiences=("felix",), jwks_url=jwks_url
        )
        self.store.put(ISSUERS, row.key, row)

    def keys(self, tenant_id: str, issuer: str, timeout_s: float = 5.0) -> Jwks:
        query = GetIssuerKeys(tenant_id=tenant_id, issuer=issuer)
        answered = self.client.ask(query, Call(timeout_s=timeout_s, consistency="stale"))
        assert answered.version == 7
        assert isinstance(answered.result, Jwks)
        return answered.result

    def start_idp_keys_anew(self) -> None:
        self.idp_keys = self._start_idp_keys()
        self.actor.tell(Attach(self.actor, self.actor, self.idp_keys, self.actor, self.actor))

    def _start_idp_keys(self) -> pykka.ActorRef[IdpKeys]:
        return IdpKeys.start(lambda *_: None, Outbound(private_addresses=True))

    def _waiting(self) -> int:
        found = self.actor.ask(GetStatistics(), timeout=10)
        assert isinstance(found, int)
        return found

    def nobody_waits(self) -> None:
        assert self._waiting() == 0

    def close(self) -> None:
        self.client.close()
        for actor in (self.actor, self.idp_keys):
            if actor.is_alive():
                actor.stop(timeout=10)


@contextmanager
def door() -> Iterator[Door]:
    with tempfile.TemporaryDirectory(prefix="felix-door-") as folder:
        found = Door(f"ipc://{folder}/rpc")
        try:
            yield found
        finally:
            found.close()


def test_the_keys_of_an_issuer_that_the_tenant_trusts_are_given() -> None:
    with idp_server() as idp, door() as node:
        node.trust("acme", idp)
        node.trust("blue", idp, idp.jwks_url)
        assert idp.kid().encode() in node.keys("acme", idp.issuer).document
        assert idp.kid().encode() in node.keys("blue", idp.issuer).document
        assert idp.count("/keys") == 1
        node.nobody_waits()


def test_an_issuer_that_the_tenant_does_not_trust_is_not_asked() -> None:
    with idp_server() as idp, door() as node:
        node.trust("acme", idp)
        for tenant_id, issuer in (("blue", idp.issuer), ("acme", idp.issuer + "/")):
            with pytest.raises(NotFound):
                node.keys(tenant_id, issuer)
        assert idp.requests == []


def test_an_issuer_is_probed_without_being_trusted() -> None:
    with idp_server() as idp, door() as node:
        answered = node.client.ask(ProbeIssuer(issuer=idp.issuer), Call())
        assert answered.result == IssuerProbe(
            found_issuer=idp.issuer, jwks_url=idp.jwks_url, algorithms=("ES256",), keys=1
        )


def test_c13_a_silent_provider_is_said_to_be_unavailable_within_the_deadline() -> None:
    with idp_server() as idp, door() as node:
        node.trust("acme", idp)
        idp.mood = "silent"
        began = time.monotonic()
        with pytest.raises(IdpUnavailable):
            node.keys("acme", idp.issuer, timeout_s=0.5)
        assert time.monotonic() - began < 2
        node.nobody_waits()


def test_what_a_failed_actor_was_asked_is_answered_and_its_successor_is_asked_next() -> None:
    with idp_server() as idp, door() as node:
        node.trust("acme", idp)
        idp.mood = "silent"
        thread = _in_thread(lambda: node.keys("acme", idp.issuer, timeout_s=60.0))
        eventually(lambda: idp.requests != [])
        node.idp_keys.tell("nobody handles this")
        eventually(lambda: not node.idp_keys.is_alive())
        with pytest.raises(IdpUnavailable):
            node.keys("acme", idp.issuer)
        node.start_idp_keys_anew()
        assert isinstance(thread(), IdpUnavailable)
        node.nobody_waits()
        idp.mood = "well"
        assert idp.kid().encode() in node.keys("acme", idp.issuer).document


def _in_thread(ask: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Ask in another thread; what comes back waits for it and gives the error."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            ask()
        except FelixError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def wait() -> BaseException | None:
        thread.join()
        return errors[0] if errors else None

    return wait
