"""The Refusals actor: what this node refused, or did to the cluster, into the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from felix.core.catalog.audit import SUCCESS
from felix.core.catalog.audit_subjects import subject_of
from felix.core.refusals import RefusalQueue, folded, line_of
from felix.proto.cluster import AddMember, AnyOperation, Operation, RemoveMember, UpdateMember
from felix.proto.command import Command
from felix.proto.commands import Stamp
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import FelixError
from felix.proto.identity import Refusal
from felix.proto.rpc import Request
from felix.transport.socket_actor import SocketActor, handles

PAUSE_S: Final = 1.0
"""Between two writes."""
ASK_S: Final = 1.0

log = structlog.get_logger("felix.refusals")


class _Write(msgspec.Struct, frozen=True):
    """Write what has come together."""


class Refusals(SocketActor):
    """Takes `Refusal` messages; writes a batch a second through this node's own RPC socket."""

    def __init__(
        self,
        failed: Callable[[SocketActor, BaseException], None],
        control_plane: ControlPlane,
        waiting: RefusalQueue,
    ) -> None:
        """`control_plane` is this node's own; the caller closes it, before it stops this actor.

        What is `waiting` stays when this actor fails; it is used by no other thread.
        """
        super().__init__(failed)
        self._control_plane = control_plane
        self._queue = waiting
        self._is_due = False

    def acquire(self) -> None:
        """Go on with what an actor before this one left."""
        self._queue.put_back()
        if self._queue.unwritten:
            self._write_soon()

    @handles(Refusal)
    def _add(self, refusal: Refusal) -> None:
        is_shown = self._queue.add(refusal)
        if is_shown and refusal.code != SUCCESS:
            log.info("request_refused", **line_of(refusal))
        self._write_soon()

    def _write_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self.after(PAUSE_S, _Write())

    @handles(_Write)
    def _write(self, _: _Write) -> None:
        self._is_due = False
        batch = self._queue.take()
        if batch is None:
            return
        try:
            self._control_plane.ask(batch, Call(timeout_s=ASK_S))
        except FelixError as error:
            self._queue.failed(error)
        else:
            self._queue.done()
            for one in folded(batch):
                log.info("requests_refused", **line_of(one))
        if self._queue.unwritten:
            self._write_soon()


def noted(request: Request, time_ms: int, error: FelixError | None) -> Refusal:
    """Describe what became of a request that is no entry of the log; no error: it was done."""
    message = request.message
    tenant_id = namespace = what = ""
    if isinstance(message, Command):
        tenant_id, namespace, what = subject_of(message, Stamp(time_ms))
    elif isinstance(message, Operation):
        what = _member(message)
    else:
        tenant_id = getattr(message, "tenant_id", "")
        namespace = getattr(message, "namespace", "")
    return Refusal(
        time_ms=time_ms,
        operation=type(message).__name__,
        code=SUCCESS if error is None else error.code,
        reason="" if error is None else error.message,
        principal=request.principal,
        source=request.source,
        request_id=request.request_id,
        tenant_id=tenant_id,
        namespace=namespace,
        object=what,
    )


def _member(operation: AnyOperation) -> str:
    match operation:
        case AddMember():
            return f"member:{operation.name}"
        case UpdateMember():
            return f"member:{operation.member_id}"
        case RemoveMember():
            return f"member:{operation.member}"
        case _:
            return f"member:{operation.target}" if operation.target else ""
