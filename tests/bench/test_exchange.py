"""The bench of tokens: its client against a socket, and a short run of everything."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import exchange
from bench.errors import BenchError
from bench.requests import Requests, ask
from bench.stage import Plan

pytestmark = pytest.mark.slow


@contextmanager
def answering(*answers: bytes) -> Iterator[socket.socket]:
    """Give a connection on which each request is answered with the next of these, in pieces."""
    here, there = socket.socketpair()

    def serve() -> None:
        with there:
            for answer in answers:
                there.recv(65536)
                for at in range(0, len(answer), 7):
                    there.sendall(answer[at : at + 7])

    thread = threading.Thread(target=serve)
    thread.start()
    here.settimeout(10)
    try:
        with here:
            yield here
    finally:
        thread.join()


def test_a_request_is_written_as_http_has_it() -> None:
    assert Requests("GET", "/here").encoded("h:1") == b"GET /here HTTP/1.1\r\nHost: h:1\r\n\r\n"
    assert Requests("POST", "/there", "t").encoded("h:1") == (
        b"POST /there HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer t\r\nContent-Length: 0\r\n\r\n"
    )


def test_answers_are_told_apart_however_they_are_torn() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"
    with answering(head + b"a" * 20, head + b"b" * 20) as connection:
        assert ask(connection, b"x") == b"a" * 20
        assert ask(connection, b"x") == b"b" * 20


def test_a_refusal_fails_the_bench_with_what_was_said() -> None:
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"
    with answering(refusal) as connection, pytest.raises(BenchError, match="401"):
        ask(connection, b"x")


def test_a_connection_that_ends_fails_the_bench() -> None:
    with answering(b"HTTP/1.1 200 OK\r\n") as connection, pytest.raises(BenchError, match="closed"):
        ask(connection, b"x")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A path in which a socket may lie, however deep the tests' own folder is."""
    with tempfile.TemporaryDirectory(prefix="felix-bench-") as folder:
        yield Path(folder)


def test_a_short_run_measures_every_case(short_folder: Path) -> None:
    plan = Plan(
        systems=["felix"],
        data_dir=short_folder,
        rounds=1,
        count=50,
        seconds=0.5,
        trials=1,
        brokers=0,
        streams=0,
        subscribers=(1,),
        via="leader",
        say=print,
    )
    rounds = {one.figures.case: one for one in exchange.run(plan)}
    many = ["ES256, 4 permissions", "RS256, 4 permissions", "ES256, 100 permissions"]
    assert list(rounds) == [
        "over HTTP, nothing",
        *(f"{how}, {case}" for case in many for how in ("signatures", "in process", "over HTTP")),
        "commit, idle",
        "commit, workers busy",
    ]
    assert all(one.figures.ops_per_s > 0 for one in rounds.values())
    for case in many:
        for how in ("in process", "over HTTP"):
            assert rounds[f"{how}, {case}"].notes["percent_of_signatures"] > 0
