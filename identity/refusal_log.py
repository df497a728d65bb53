"""Where a worker notes whom it refused: a line in the log, and a record in the audit trail."""

from __future__ import annotations

import os
import threading
from typing import Final

import structlog

from felix.core.refusals import RefusalQueue, line_of
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import FelixError
from felix.proto.identity import Refusal

PAUSE_S: Final = 1.0
"""At least this long between two writes."""
ASK_S: Final = 2.0

log = structlog.get_logger("felix.refusals")


class RefusalLog:
    """Sends what it is given through the control plane, in a thread that the first one starts.

    Refusals are kept, up to a limit, while there is no leader. One that was sent when the answer
    was lost is sent again, so the trail may have it twice.
    """

    def __init__(
        self, control_plane: ControlPlane, node: str = "", pause_s: float = PAUSE_S
    ) -> None:
        """`node` names this process in the trail."""
        self._control_plane = control_plane
        self._pause_s = pause_s
        self._queue = RefusalQueue(node)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        """Held while a batch is under way: there is one at a time."""
        self._added = threading.Event()
        self._stopping = threading.Event()
        self._pid: int | None = None
        """Of the process that has the thread: none is inherited by a fork."""

    @property
    def dropped(self) -> int:
        """How many there was no room for."""
        with self._lock:
            return self._queue.dropped_total

    def add(self, refusal: Refusal) -> None:
        """Note one. Never waits for anybody, and never raises."""
        log.info("request_refused", **line_of(refusal))
        with self._lock:
            self._queue.add(refusal)
            if self._pid != os.getpid() and not self._stopping.is_set():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="refusals", daemon=True).start()
        self._added.set()

    def close(self) -> None:
        """Try to write what waits; start nothing any more."""
        self._stopping.set()
        self._added.set()
        if self._pid == os.getpid():
            self._send()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._added.wait()
            self._added.clear()
            if not self._stopping.is_set() and self._send():
                self._added.set()
            self._stopping.wait(self._pause_s)

    def _send(self) -> bool:
        """Write a batch; tell whether something is left to write."""
        with self._sending:
            with self._lock:
                batch = self._queue.take()
            if batch is None:
                return False
            try:
                self._control_plane.ask(batch, Call(timeout_s=ASK_S))
            except FelixError as error:
                with self._lock:
                    self._queue.failed(error)
            else:
                with self._lock:
                    self._queue.done()
            with self._lock:
                return len(self._queue) > 0
