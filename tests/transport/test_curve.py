"""Keys: their files, whom a node lets in by them, and what each may ask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pykka
import pytest
import zmq
from click.testing import CliRunner
from zmq.utils import z85

from felix.actors import rpc_access
from felix.actors.key_guard import KeyGuard
from felix.actors.messages import GetStatistics
from felix.cli.server import main
from felix.proto.cluster import TransferLeadership
from felix.proto.codec import Decoder, encode
from felix.proto.commands import CreateTenant
from felix.proto.errors import Forbidden, NotFound, Unauthorized
from felix.proto.ids import Index, NodeId, Term
from felix.proto.queries import GetBackup, GetCluster, GetSnapshot, GetTenant, WatchUpdates
from felix.proto.raft import Heartbeat
from felix.proto.rpc import PROTOCOL, AnyRequest, Reply, Request
from felix.transport.allow_list import AllowList, KeyChange, Owner
from felix.transport.curve import (
    BadKeyFile,
    ClientCurve,
    KeyPair,
    new_key_pair,
    read_key_pair,
    render_key_pair,
)
from felix.transport.node_curve import NodeCurve, Place
from felix.transport.peers import Peers
from felix.transport.publisher import Publisher
from felix.transport.rpc_client import RpcClient
from felix.transport.rpc_server import Incoming, RpcCaller, RpcServer
from felix.transport.zap import HandshakeFailures, ZapHandler
from tests.support.cluster import free_ports
from tests.support.keys import KeyRing, write_secret
from tests.support.waiting import eventually

ADDRESS = "192.0.2.7"


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    found = KeyRing(tmp_path)
    found.add("node", "n1")
    found.add("broker", "ben")
    return found


# --- files ---------------------------------------------------------------------------------------


def test_keygen_writes_a_file_for_its_owner_alone_and_overwrites_none(tmp_path: Path) -> None:
    out = tmp_path / "n1.key"
    made = CliRunner().invoke(main, ["keygen", "curve", "--out", str(out)])
    assert made.exit_code == 0
    pair = read_key_pair(out)
    assert made.stdout.strip() == pair.public
    assert out.stat().st_mode & 0o777 == 0o600
    assert pair.secret not in made.output
    again = CliRunner().invoke(main, ["keygen", "curve", "--out", str(out)])
    assert again.exit_code != 0
    assert read_key_pair(out) == pair


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602])
def test_a_secret_that_others_can_read_or_change_is_not_taken(tmp_path: Path, mode: int) -> None:
    path = write_secret(tmp_path / "key", new_key_pair())
    path.chmod(mode)
    with pytest.raises(BadKeyFile, match="not for its owner alone"):
        read_key_pair(path)


def test_a_secret_is_in_no_representation_and_no_complaint(tmp_path: Path) -> None:
    pair = new_key_pair()
    assert pair.secret not in repr(ClientCurve(pair, (pair.public,)))
    path = write_secret(tmp_path / "key", pair)
    path.write_text(f"secret {pair.secret}x\npublic {pair.public}\n{pair.secret}\n")
    with pytest.raises(BadKeyFile) as found:
        read_key_pair(path)
    assert pair.secret not in str(found.value)
    assert "line 1" in str(found.value)
    assert "line 3" in str(found.value)
    assert "there is no secret key" in str(found.value)


def test_halves_of_two_pairs_are_no_pair(tmp_path: Path) -> None:
    mixed = KeyPair(new_key_pair().public, new_key_pair().secret)
    with pytest.raises(BadKeyFile, match="not the secret key's"):
        read_key_pair(write_secret(tmp_path / "key", mixed))


def test_the_list_is_read_with_comments_and_blank_lines(tmp_path: Path) -> None:
    one, two = new_key_pair().public, new_key_pair().public
    path = tmp_path / "list"
    path.write_text(f"# nodes\nnode n1 {one}\n\n   admin   olga   {two}\n")
    allowed = AllowList(path)
    assert allowed.find(one) == Owner("node", "n1")
    assert allowed.find(two) == Owner("admin", "olga")
    assert allowed.find(new_key_pair().public) is None
    assert (allowed.node_key("n1"), allowed.node_key("olga")) == (one, None)


def test_every_problem_of_the_list_is_named_with_its_line(tmp_path: Path) -> None:
    one, two = new_key_pair().public, new_key_pair().public
    path = tmp_path / "list"
    path.write_text(
        f"node n1 {one}\nking arthur {two}\nbroker ben short\nnode n1 {two}\n"
        f"admin olga {one}\nbroker {two}\nbroker b {'~' * 40}\nbroker b {'#' * 40}\n"
    )
    with pytest.raises(BadKeyFile) as found:
        AllowList(path)
    lines = [f"line {number}:" for number in range(2, 9)]
    assert [any(line in one for one in found.value.problems) for line in lines] == [True] * 7
    assert len(found.value.problems) == 7


# --- changes --------------------------------------------------------------------------------------


def test_a_list_that_has_changed_is_taken_over_and_says_who_lost_a_key(keys: KeyRing) -> None:
    allowed = AllowList(keys.allow_list)
    heard: list[KeyChange] = []
    allowed.on_change(heard.append)
    keys.add("broker", "bea")
    allowed.look()
    keys.remove("ben")
    allowed.look()
    allowed.look()
    assert heard == [KeyChange(frozenset()), KeyChange(frozenset({"broker"}))]
    assert allowed.find(keys.pair("ben").public) is None
    assert allowed.find(keys.pair("bea").public) == Owner("broker", "bea")


@pytest.mark.parametrize("what", ["gone", "wrong", "not readable"])
def test_a_list_that_cannot_be_used_leaves_the_last_one_in_force(keys: KeyRing, what: str) -> None:
    allowed = AllowList(keys.allow_list)
    good = keys.allow_list.read_text()
    if what == "wrong":
        keys.allow_list.write_text("node n1\n")
    else:
        keys.allow_list.unlink()
    if what == "not readable":
        keys.allow_list.mkdir()
    allowed.look()
    assert allowed.find(keys.pair("ben").public) == Owner("broker", "ben")
    if what == "not readable":
        keys.allow_list.rmdir()
    keys.allow_list.write_text(good + f"broker bea {keys.pair('bea').public}\n")
    allowed.look()
    assert allowed.find(keys.pair("bea").public) == Owner("broker", "bea")


def test_brokers_of_the_cluster_are_let_in_beside_those_of_the_file(keys: KeyRing) -> None:
    allowed = AllowList(keys.allow_list)
    heard: list[KeyChange] = []
    allowed.on_change(heard.append)
    bea, node = keys.pair("bea").public, keys.pair("n1").public
    allowed.set_brokers({"b-1": bea, "b-2": node, "b-3": "no key"})
    assert allowed.find(bea) == Owner("broker", "b-1")
    assert allowed.find(node) == Owner("node", "n1"), "the file comes first"
    keys.add("broker", "late")
    allowed.look()
    assert allowed.find(bea) == Owner("broker", "b-1"), "a new file does not forget them"
    allowed.set_brokers({})
    assert allowed.find(bea) is None
    assert [one.lost for one in heard] == [frozenset(), frozenset(), {"broker"}]


# --- the handler ----------------------------------------------------------------------------------


def question(socket: str, public: str) -> list[bytes]:
    key = z85.decode(public.encode())
    return [b"1.0", b"7", socket.encode(), ADDRESS.encode(), b"", b"CURVE", key]


@pytest.mark.parametrize(
    ("name", "socket", "reason"),
    [
        ("n1", "peers", None),
        ("n1", "rpc", None),
        ("ben", "peers", "wrong_role"),
        ("ben", "rpc", None),
        ("ben", "watch", None),
        ("olga", "peers", "wrong_role"),
        ("olga", "rpc", None),
        ("nobody", "rpc", "unknown_key"),
        ("n1", "elsewhere", "wrong_role"),
    ],
)
def test_keys_are_let_in_by_role_and_socket(
    keys: KeyRing, name: str, socket: str, reason: str | None
) -> None:
    failures = HandshakeFailures()
    handler = ZapHandler(AllowList(keys.allow_list), failures)
    public = keys.pair(name).public
    answer = handler.answer(question(socket, public))
    assert answer[:2] == [b"1.0", b"7"]
    assert answer[2] == (b"200" if reason is None else b"300")
    assert answer[4] == (public.encode() if reason is None else b"")
    assert failures.counts() == ({} if reason is None else {(socket, reason): 1})


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"1.0"],
        [b"1.0", b"7", b"rpc", b"", b"", b"NULL"],
        [b"1.0", b"7", b"rpc", b"", b"", b"PLAIN", b"name", b"password"],
        [b"2.0", b"7", b"rpc", b"", b"", b"CURVE", b"k" * 32],
        [b"1.0", b"7", b"rpc", b"", b"", b"CURVE", b"short"],
    ],
)
def test_whatever_else_is_asked_is_never_a_yes(keys: KeyRing, frames: list[bytes]) -> None:
    handler = ZapHandler(AllowList(keys.allow_list), HandshakeFailures())
    answer = handler.answer(frames)
    assert len(answer) == 6
    assert answer[2] != b"200"


# --- requests -------------------------------------------------------------------------------------


def incoming(message: AnyRequest, owner: Owner | None) -> Incoming:
    request = Request(PROTOCOL, 1, 1000, message, principal="somebody", source="somewhere")
    return Incoming((b"route",), request, RpcCaller(owner, ADDRESS))


def test_a_broker_may_only_read_the_metadata() -> None:
    ben = Owner("broker", "ben")
    for allowed in (GetCluster(), GetSnapshot(), WatchUpdates(from_version=1, epoch=1)):
        admitted = rpc_access.admit(incoming(allowed, ben))
        assert admitted.request.message == allowed
        assert admitted.request.principal == "broker:ben"
    for refused in (
        CreateTenant(tenant_id="t"), GetTenant(tenant_id="t"), GetBackup(), TransferLeadership(),
    ):  # fmt: skip
        with pytest.raises(Forbidden):
            rpc_access.admit(incoming(refused, ben))


def test_an_operator_does_everything_under_its_own_name() -> None:
    admitted = rpc_access.admit(incoming(CreateTenant(tenant_id="t"), Owner("admin", "olga")))
    assert (admitted.request.principal, admitted.request.source) == ("key:olga", ADDRESS)


def test_a_node_speaks_for_those_who_asked_it() -> None:
    sent = incoming(CreateTenant(tenant_id="t"), Owner("node", "n1"))
    assert rpc_access.admit(sent) is sent


def test_a_key_that_was_taken_from_the_list_asks_for_nothing() -> None:
    with pytest.raises(Unauthorized):
        rpc_access.admit(incoming(GetCluster(), None))


# --- sockets --------------------------------------------------------------------------------------


@contextmanager
def guarded(keys: KeyRing) -> Iterator[tuple[zmq.Context[zmq.Socket[bytes]], NodeCurve]]:
    """A context whose key guard works."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    curve = NodeCurve(keys.pair("n1"), AllowList(keys.allow_list))
    guard = KeyGuard.start(lambda *_: None, context, curve)
    try:
        guard.ask(GetStatistics(), timeout=10)
        yield context, curve
    finally:
        guard.stop(timeout=10)
        context.destroy(linger=0)


def connected(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str, curve: ClientCurve | None
) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    if curve is not None:
        curve.secure(socket)
    socket.connect(endpoint)
    return socket


@pytest.mark.slow
def test_a_request_says_whose_key_it_came_with_and_is_answered_on_its_socket(
    keys: KeyRing,
) -> None:
    local = f"ipc://{keys.folder}/rpc.sock"
    with guarded(keys) as (context, curve):
        server = RpcServer(context, ["tcp://127.0.0.1:*", local], curve)
        assert server.secured is not None
        endpoint = server.secured.getsockopt_string(zmq.LAST_ENDPOINT)
        ben = ClientCurve(keys.pair("ben"), (keys.pair("n1").public,))
        try:
            foreign = connected(context, zmq.DEALER, endpoint, ben)
            trusted = connected(context, zmq.DEALER, local, None)
            for number, socket in enumerate((foreign, trusted)):
                socket.send(encode(Request(PROTOCOL, number, 1000, GetCluster())))
            assert server.secured.poll(10_000)
            frames = server.secured.recv_multipart(copy=False)
            first = server.take_secured(frames)
            second = server.take(server.socket.recv_multipart())
            assert first is not None
            assert second is not None
            its_key = keys.pair("ben").public
            assert first.caller == RpcCaller(Owner("broker", "ben"), "127.0.0.1", its_key)
            assert second.caller is None
            for one in (first, second):
                server.refuse(one.route, one.request.id, NotFound("none"))
            for number, socket in enumerate((foreign, trusted)):
                assert Decoder[Reply](Reply).decode(socket.recv()).id == number
            keys.remove("ben")
            curve.allowed.look()
            foreign.send(encode(Request(PROTOCOL, 3, 1000, GetCluster())))
            assert server.secured.poll(10_000)
            third = server.take_secured(server.secured.recv_multipart(copy=False))
            assert third is not None
            assert third.caller is not None
            assert third.caller.owner is None
        finally:
            server.close()


@pytest.mark.slow
def test_without_a_handler_nobody_is_let_in(keys: KeyRing) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    curve = NodeCurve(keys.pair("n1"), AllowList(keys.allow_list))
    server = RpcServer(context, ["tcp://127.0.0.1:*"], curve)
    assert server.secured is not None
    assert server.guard is not None
    try:
        endpoint = server.secured.getsockopt_string(zmq.LAST_ENDPOINT)
        client = ClientCurve(keys.pair("olga"), (keys.pair("n1").public,))
        socket = connected(context, zmq.DEALER, endpoint, client)
        socket.send(encode(Request(PROTOCOL, 1, 1000, GetCluster())))
        assert server.guard.monitor.poll(10_000)
        server.guard.hear(server.guard.monitor.recv_multipart())
        assert curve.failures.counts() == {("rpc", "broken_off"): 1}
        assert not server.secured.poll(0)
    finally:
        server.close()
        context.destroy(linger=0)


@pytest.mark.slow
def test_peers_hear_only_nodes_and_reach_only_whose_key_they_know(keys: KeyRing) -> None:
    (port,) = free_ports(1)
    me, other = NodeId("me"), NodeId("other")
    keys.add("node", "n2")
    with guarded(keys) as (context, curve), ExitStack() as stack:
        peers = Peers(context, "c", me, f"127.0.0.1:{port}", curve)
        stack.callback(peers.close)
        own = NodeCurve(keys.pair("n2"), AllowList(keys.allow_list))
        theirs = Peers(context, "c", other, f"127.0.0.1:{free_ports(1)[0]}", own)
        stack.callback(theirs.close)
        heartbeat = Heartbeat(other, me, Term(1), Index(0), 1)

        theirs.reach({me: Place("unknown", f"127.0.0.1:{port}")})
        theirs.send(heartbeat)
        assert theirs.dropped == 1
        theirs.reach({me: Place("n1", f"127.0.0.1:{port}")})

        def arrives() -> bool:
            theirs.send(heartbeat)
            return bool(peers.inbox.poll(10))

        eventually(arrives)
        assert peers.receive(peers.inbox.recv_multipart()) == heartbeat
        spy = ClientCurve(keys.pair("ben"), (keys.pair("n1").public,))
        stack.enter_context(closing(connected(context, zmq.PUSH, f"tcp://127.0.0.1:{port}", spy)))
        eventually(lambda: curve.failures.counts().get(("peers", "wrong_role"), 0) > 0)


@pytest.mark.slow
def test_a_socket_is_opened_again_on_the_same_port(keys: KeyRing) -> None:
    (port,) = free_ports(1)
    with guarded(keys) as (context, curve):
        for _ in range(3):
            opened: list[Publisher] = []

            def opens(opened: list[Publisher] = opened) -> bool:
                try:
                    opened.append(Publisher(context, f"127.0.0.1:{port}", curve))
                except OSError:
                    return False
                return True

            eventually(opens)
            opened[0].close()


def test_the_socket_of_this_machine_is_for_the_user_of_the_node_alone(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    before = os.umask(0)
    try:
        server = RpcServer(context, [f"ipc://{tmp_path}/rpc.sock"])
        assert (tmp_path / "rpc.sock").stat().st_mode & 0o077 == 0
        assert os.umask(0) == 0, "it is as it was"
        server.close()
    finally:
        os.umask(before)
        context.destroy(linger=0)


def test_clients_say_at_once_when_their_keys_do_not_fit(keys: KeyRing) -> None:
    pair = keys.pair("ben")
    for server_keys in ((), (pair.public,) * 3, ("short",)):
        with pytest.raises(ValueError, match="key"):
            RpcClient(["tcp://a:1", "tcp://b:1"], curve=ClientCurve(pair, server_keys))


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    for read in (read_key_pair, AllowList):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none")
    assert render_key_pair(new_key_pair()).startswith("#")
    assert not os.listdir(tmp_path)
    assert not pykka.ActorRegistry.get_by_class(KeyGuard)
