"""An actor that failed lets go of what its successor needs."""

from __future__ import annotations

import threading

import pykka
import pytest
import zmq

from felix.actors.messages import GetStatistics
from felix.actors.watch_fanout import FanoutStatistics, WatchFanout
from felix.actors.watch_position import WatchPosition
from felix.transport.publisher import Publisher
from felix.transport.socket_actor import SocketActor
from tests.support.cluster import free_ports
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


def test_the_watch_socket_can_be_opened_again_after_its_actor_failed() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    listen = f"127.0.0.1:{free_ports(1)[0]}"
    failed = threading.Event()

    def note(_actor: SocketActor, _error: BaseException) -> None:
        failed.set()

    def start() -> pykka.ActorRef[WatchFanout]:
        return WatchFanout.start(
            note, lambda: Publisher(context, listen), "c", "n", WatchPosition(), 1.0
        )

    first = start()
    first.tell("nobody handles this")
    assert failed.wait(10)
    eventually(lambda: not first.is_alive())
    second = start()
    try:
        assert isinstance(second.ask(GetStatistics(), timeout=10), FanoutStatistics)
    finally:
        second.stop(timeout=10)
        context.destroy(linger=0)
