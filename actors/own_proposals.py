"""Commands on their way through the log: others', and what actors of this node have decided."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from felix.actors.messages import Propose, Proposed, tell_if_alive
from felix.core.catalog.idempotency import Result
from felix.proto.commands import AnyCommand
from felix.proto.errors import ErrorReply, FelixError
from felix.proto.rpc import PROTOCOL, Request
from felix.transport.rpc_server import Incoming


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A command in the log that is not committed yet."""

    incoming: Incoming
    deadline: float


class _Batch(msgspec.Struct):
    message: Propose
    left: int
    errors: list[str]


class OwnProposals:
    """Batches of which not every command is answered; used by RaftNode's thread."""

    def __init__(self) -> None:
        self._by_token: dict[int, _Batch] = {}

    def __len__(self) -> int:
        """Count the commands that are not answered."""
        return len(self._by_token)

    def begin(self, message: Propose, propose: Callable[[Request, AnyCommand], int]) -> None:
        """Propose a batch; `propose` gives a command's token or raises a `FelixError`."""
        batch = _Batch(message, 0, [])
        for command in message.commands:
            request = Request(PROTOCOL, 0, 0, command, principal=message.principal)
            try:
                self._by_token[propose(request, command)] = batch
                batch.left += 1
            except FelixError as error:
                batch.errors.append(error.message)
        if not batch.left:
            _answer(batch)

    def finished(self, token: int, result: Result | FelixError) -> None:
        """Hear what came of a command, if it is one of these; answer when it was the last."""
        batch = self._by_token.pop(token, None)
        if batch is None:
            return
        if isinstance(result, ErrorReply | FelixError):
            batch.errors.append(result.message)
        batch.left -= 1
        if not batch.left:
            _answer(batch)

    def clear(self) -> None:
        """Forget all: what becomes of them, another leader knows."""
        self._by_token.clear()


def _answer(batch: _Batch) -> None:
    answer = Proposed(batch.message.number, tuple(batch.errors))
    tell_if_alive(batch.message.reply_to, answer)
