"""What RPC clients share: from a message to a frame, and from a reply to an answer or an error."""

from __future__ import annotations

from typing import Final

from felix.proto import codec
from felix.proto.command import Command
from felix.proto.control_plane import Answered, Call, answer_types
from felix.proto.errors import (
    FelixError,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ShuttingDown,
    TooLarge,
    Unprocessable,
    from_reply,
)
from felix.proto.rpc import NO_RESULT, PROTOCOL, Answer, AnyRequest, Reply, Request
from felix.transport.rpc_server import REPLY_BYTES_MAX

NOT_NOW: Final = (NoLeader, NotLeader, Overloaded, ShuttingDown)
"""Errors that mean: nothing happened, ask again. Safe to retry for any request."""

_reply_decoder: Final = codec.Decoder[Reply](Reply, REPLY_BYTES_MAX)
_answer_decoders: Final = {
    message: codec.Decoder[Answer](kind) for message, kind in answer_types().items()
}


def encode_request(request_id: int, message: AnyRequest, call: Call, timeout_s: float) -> bytes:
    """Encode a request frame. Raises: TooLarge, Unprocessable."""
    request = Request(
        PROTOCOL,
        request_id,
        max(1, int(timeout_s * 1000)),
        message,
        call.consistency,
        call.idempotency_key,
        call.request_id,
        call.principal,
        call.source,
        wants_acks=call.wants_acks,
    )
    try:
        frame = codec.encode(request)
    except (OverflowError, TypeError, ValueError) as error:  # huge numbers, lone surrogates
        raise Unprocessable(f"this cannot be encoded: {error}") from error
    if len(frame) > codec.FOREIGN_BYTES_MAX:
        raise TooLarge(f"{len(frame)} bytes, at most {codec.FOREIGN_BYTES_MAX} may be sent")
    return frame


def decode_reply(frame: bytes) -> Reply:
    """Decode a reply frame. Raises: Malformed, TooLarge, Unprocessable."""
    return _reply_decoder.decode(frame)


def read_reply(message: AnyRequest, reply: Reply) -> Answered | FelixError:
    """Read the answer or the error out of a reply.

    An answer that cannot be read leaves the outcome unknown: the node did send one.
    """
    if reply.error is not None:
        return from_reply(reply.error)
    if reply.result == NO_RESULT:
        return OutcomeUnknown("the reply has neither an answer nor an error")
    try:
        result = _answer_decoders[type(message)].decode(memoryview(reply.result))
    except FelixError as error:
        return OutcomeUnknown(f"the answer cannot be read: {error.message}")
    return Answered(result, reply.version, reply.age_ms)


def may_repeat(message: AnyRequest, call: Call) -> bool:
    """Whether a second try has no second effect: a query, or a command with an idempotency key."""
    return call.idempotency_key is not None or not isinstance(message, Command)
