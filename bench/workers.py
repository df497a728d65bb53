"""Load generators in processes of their own, so that they measure and the parent only waits.

Workers are spawned, not forked: a ZeroMQ context does not survive a fork.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from bench.errors import BenchError

T = TypeVar("T")
Given = ParamSpec("Given")

_SPAWN = multiprocessing.get_context("spawn")
_END_TIMEOUT_S = 5.0


class Worker:
    """A process that runs `task(link, *arguments)` and talks to its parent over the link."""

    def __init__(
        self,
        task: Callable[Concatenate[Connection, Given], None],
        *arguments: Given.args,
        **named: Given.kwargs,
    ) -> None:
        self._link, link = _SPAWN.Pipe()
        self._name = task.__name__
        self._process = _SPAWN.Process(
            target=_run, args=(task, link, arguments, named), daemon=True
        )
        self._process.start()
        link.close()

    def receive(self, kind: type[T], timeout_s: float) -> T:
        """Wait for the next message. Raises: BenchError, when late or the worker has died."""
        if not self._link.poll(timeout_s):
            raise BenchError(f"worker {self._name}: nothing within {timeout_s} s")
        try:
            message = self._link.recv()
        except EOFError as error:
            raise BenchError(f"worker {self._name} has died; its own words are above") from error
        assert isinstance(message, kind), f"{self._name} sent {type(message)}, not {kind}"
        return message

    def is_talking(self, timeout_s: float) -> bool:
        """Say whether a message comes within this time."""
        return self._link.poll(timeout_s)

    def send(self, message: object) -> None:
        """Pass a message to the task."""
        self._link.send(message)

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill -9 the process."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._link.close()
        self._process.join(0.0 if error else _END_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _run(
    task: Callable[..., None],
    link: Connection,
    arguments: tuple[object, ...],
    named: dict[str, object],
) -> None:
    gc.disable()  # a collection in the middle of a loop would be measured as latency
    task(link, *arguments, **named)
