"""The actor type: one inbox for messages, timers and sockets, and failures that are heard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import msgspec
import pykka
import pytest
import zmq
from pykka._envelope import Envelope

from felix.proto.errors import NotFound, Overloaded
from felix.transport import socket_actor
from felix.transport.socket_actor import SocketActor, SocketInbox, handles
from tests.support.waiting import eventually

TIMEOUT_S = 10.0

Failures = list[tuple[SocketActor, BaseException]]


class Note(msgspec.Struct, frozen=True):
    text: str


class Later(msgspec.Struct, frozen=True):
    delay_s: float
    text: str


class Refuse(msgspec.Struct, frozen=True):
    pass


class Break(msgspec.Struct, frozen=True):
    pass


class Reveal(msgspec.Struct, frozen=True):
    """Answered with the actor itself."""


class Deafen(msgspec.Struct, frozen=True):
    pass


class Listener(SocketActor):
    """Writes down what it hears, in order."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        socket: zmq.Socket[bytes] | None = None,
    ) -> None:
        super().__init__(failed)
        self.heard: list[str] = []
        self.released = False
        self._socket = socket

    def acquire(self) -> None:
        if self._socket is not None:
            self.listen(self._socket, self._frames)

    def release(self) -> None:
        self.released = True

    def _frames(self, frames: list[bytes]) -> None:
        self.heard.append(b"|".join(frames).decode())
        if frames == [b"break"]:
            raise ZeroDivisionError

    @handles(Note)
    def _note(self, message: Note) -> int:
        self.heard.append(message.text)
        return len(self.heard)

    @handles(Later)
    def _later(self, message: Later) -> None:
        self.after(message.delay_s, Note(message.text))

    @handles(Reveal)
    def _reveal(self, _: Reveal) -> Listener:
        return self

    @handles(Refuse)
    def _refuse(self, _: Refuse) -> None:
        raise NotFound("nothing here")

    @handles(Break)
    def _break(self, _: Break) -> None:
        raise ZeroDivisionError

    @handles(Deafen)
    def _deafen(self, _: Deafen) -> None:
        assert self._socket is not None
        self.unlisten(self._socket)


class Loud(Listener):
    """Overrides one handler and inherits the others."""

    @handles(Note)
    def _note(self, message: Note) -> int:
        self.heard.append(message.text.upper())
        return len(self.heard)


class Bed:
    """Actors and sockets of one test."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.failures: Failures = []
        self.refs: list[pykka.ActorRef[Listener]] = []
        self.sockets: list[zmq.Socket[bytes]] = []

    def start(
        self, kind: type[Listener] = Listener, socket: zmq.Socket[bytes] | None = None
    ) -> tuple[pykka.ActorRef[Listener], Listener]:
        ref = kind.start(lambda actor, error: self.failures.append((actor, error)), socket)
        self.refs.append(ref)
        actor = ref.ask(Reveal(), timeout=TIMEOUT_S)
        assert isinstance(actor, Listener)
        return ref, actor

    def pair(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        theirs, ours = self.context.socket(zmq.PAIR), self.context.socket(zmq.PAIR)
        self.sockets += [theirs, ours]
        theirs.bind("inproc://pair")
        ours.connect("inproc://pair")
        return theirs, ours


@pytest.fixture
def bed() -> Iterator[Bed]:
    made = Bed()
    yield made
    for ref in made.refs:
        ref.stop(timeout=TIMEOUT_S)
    for socket in made.sockets:
        socket.close(linger=0)
    made.context.term()


def test_messages_are_handled_by_their_type_and_in_order(bed: Bed) -> None:
    ref, actor = bed.start()
    for number in range(200):
        ref.tell(Note(str(number)))
    assert ref.ask(Note("last"), timeout=TIMEOUT_S) == 201
    assert actor.heard == [*map(str, range(200)), "last"]


def test_a_subclass_may_handle_a_message_otherwise(bed: Bed) -> None:
    ref, actor = bed.start(Loud)
    ref.ask(Note("hello"), timeout=TIMEOUT_S)
    assert actor.heard == ["HELLO"]


def test_messages_from_many_threads_all_arrive(bed: Bed) -> None:
    ref, actor = bed.start()

    def tell(number: int) -> None:
        for turn in range(500):
            ref.tell(Note(f"{number}-{turn}"))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(actor.heard) == 2000)
    for number in range(4):
        mine = [one for one in actor.heard if one.startswith(f"{number}-")]
        assert mine == [f"{number}-{turn}" for turn in range(500)]


def test_frames_reach_the_actor_beside_its_messages(bed: Bed) -> None:
    theirs, ours = bed.pair()
    ref, actor = bed.start(socket=theirs)
    for number in range(200):
        ours.send_multipart([b"frame", b"%d" % number])
        ref.tell(Note(f"note {number}"))
    eventually(lambda: len(actor.heard) == 400)
    assert [one for one in actor.heard if one.startswith("frame")] == [
        f"frame|{number}" for number in range(200)
    ]


def test_a_flood_of_messages_does_not_shut_the_sockets_out(bed: Bed) -> None:
    theirs, ours = bed.pair()
    ref, actor = bed.start(socket=theirs)
    ours.send(b"in between")
    for number in range(5000):
        ref.tell(Note(str(number)))
    eventually(lambda: len(actor.heard) == 5001)
    assert actor.heard.index("in between") < 5000


def test_a_socket_that_is_no_longer_listened_to_is_left_alone(bed: Bed) -> None:
    theirs, ours = bed.pair()
    ref, actor = bed.start(socket=theirs)
    ref.ask(Deafen(), timeout=TIMEOUT_S)
    ours.send(b"unheard")
    ref.ask(Note("heard"), timeout=TIMEOUT_S)
    assert actor.heard == ["heard"]


def test_timers_come_in_the_order_in_which_they_are_due(bed: Bed) -> None:
    ref, actor = bed.start()
    for delay_s, text in ((0.05, "third"), (0.0, "first"), (0.02, "second")):
        ref.tell(Later(delay_s, text))
    eventually(lambda: len(actor.heard) == 3)
    assert actor.heard == ["first", "second", "third"]


def test_an_error_of_the_protocol_answers_who_asked_and_the_actor_lives_on(bed: Bed) -> None:
    ref, _ = bed.start()
    with pytest.raises(NotFound):
        ref.ask(Refuse(), timeout=TIMEOUT_S)
    assert ref.ask(Note("alive"), timeout=TIMEOUT_S) == 1
    assert bed.failures == []


@pytest.mark.parametrize("message", [Break(), Refuse()])
def test_an_error_that_nobody_asked_for_is_heard(
    bed: Bed, message: Break | Refuse, caplog: pytest.LogCaptureFixture
) -> None:
    ref, actor = bed.start()
    ref.tell(message)
    eventually(lambda: bool(bed.failures))
    ((failed, error),) = bed.failures
    assert failed is actor
    assert isinstance(error, ZeroDivisionError | NotFound)
    eventually(lambda: not ref.is_alive())


def test_a_bug_met_while_answering_is_heard_and_answered(bed: Bed) -> None:
    ref, _ = bed.start()
    with pytest.raises(ZeroDivisionError):
        ref.ask(Break(), timeout=TIMEOUT_S)
    assert len(bed.failures) == 1


def test_a_bug_met_while_reading_a_frame_is_heard(bed: Bed) -> None:
    theirs, ours = bed.pair()
    bed.start(socket=theirs)
    ours.send(b"break")
    eventually(lambda: bool(bed.failures))


def test_a_message_of_no_known_type_is_a_bug(bed: Bed) -> None:
    ref, _ = bed.start()
    with pytest.raises(KeyError):
        ref.ask("hello", timeout=TIMEOUT_S)
    assert len(bed.failures) == 1


def test_an_actor_releases_what_it_has_when_it_stops(bed: Bed) -> None:
    ref, actor = bed.start()
    ref.stop(timeout=TIMEOUT_S)
    assert actor.released
    with pytest.raises(pykka.ActorDeadError):
        ref.tell(Note("late"))


def test_a_full_inbox_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_actor, "INBOX_MESSAGES_MAX", 2)
    inbox = SocketInbox()
    for text in ("a", "b"):
        inbox.put(Envelope(Note(text)))
    with pytest.raises(Overloaded):
        inbox.put(Envelope(Note("c")))
    assert [inbox.get().message for _ in range(2)] == [Note("a"), Note("b")]
    assert inbox.empty()


def test_timers_that_are_always_due_do_not_keep_sockets_waiting() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    inbox = SocketInbox()
    socket, other = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    try:
        socket.bind("inproc://timers")
        other.connect("inproc://timers")
        inbox.add_socket(socket)
        other.send(b"frame")
        for _ in range(3):
            inbox.add_timer(0.0, Note("due"))
        heard = [type(inbox.get().message) is Note for _ in range(4)]
        assert heard == [True, False, True, False], "the socket is looked at after each timer"
    finally:
        inbox.remove_socket(socket)
        socket.close(0)
        other.close(0)
        context.term()
