"""Where a worker notes whom it refused: a line in the log, and a record in the audit trail."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

import structlog

from felix.core.refusals import RefusalQueue, folded, line_of
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import FelixError
from felix.proto.identity import Refusal

PAUSE_S: Final = 1.0
"""At least this long between two writes."""
ASK_S: Final = 2.0
CLOSE_S: Final = 2.0
"""How long the end of a worker may wait for what is noted to be written."""

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
        with self._lock:
            is_shown = self._queue.add(refusal)
            if self._pid != os.getpid() and not self._stopping.is_set():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="refusals", daemon=True).start()
        self._added.set()
        if is_shown:
            log.info("request_refused", **line_of(refusal))

    def close(self) -> None:
        """Write what waits, unless that fails or takes long; say how many are lost. Start nothing
        any more.
        """
        self._stopping.set()
        self._added.set()
        if self._pid != os.getpid():
            return
        deadline_s = time.monotonic() + CLOSE_S
        while (left_s := deadline_s - time.monotonic()) > 0 and self._send(left_s):
            pass
        with self._lock:
            lost = self._queue.unwritten
        if lost:
            log.warning("refusals_not_recorded", count=lost)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._added.wait()
            self._added.clear()
            if not self._stopping.is_set():
                self._send(ASK_S)
                with self._lock:
                    if self._queue.unwritten:
                        self._added.set()
            self._stopping.wait(self._pause_s)

    def _send(self, timeout_s: float) -> bool:
        """Write a batch; tell whether there was one and it is in the trail."""
        with self._sending:
            with self._lock:
                batch = self._queue.take()
            if batch is None:
                return False
            try:
                self._control_plane.ask(batch, Call(timeout_s=timeout_s))
            except FelixError as error:
                with self._lock:
                    self._queue.failed(error)
                return False
            with self._lock:
                self._queue.done()
        for one in folded(batch):
            log.info("requests_refused", **line_of(one))
        return True
