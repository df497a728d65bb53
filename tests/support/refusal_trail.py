"""A control plane that only keeps refused requests, when it is let."""

from __future__ import annotations

import threading

from felix.proto.commands import RecordRefusals
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import FelixError
from felix.proto.identity import Done
from felix.proto.rpc import AnyRequest


class RefusalTrail:
    """Keeps the batches; answers once it is open, with `error` if there is one."""

    def __init__(self) -> None:
        self.batches: list[RecordRefusals] = []
        self.asked = 0
        self.error: FelixError | None = None
        self.is_open = threading.Event()
        self.is_open.set()

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Take a batch. Raises: `error`."""
        assert isinstance(message, RecordRefusals)
        self.asked += 1
        assert self.is_open.wait(call.timeout_s)
        if self.error is not None:
            raise self.error
        self.batches.append(message)
        return Answered(Done(), 1)

    @property
    def requests(self) -> list[str]:
        """List the ids of the refused requests, in order."""
        return [one.request_id for batch in self.batches for one in batch.refusals]
