"""How a stream goes (seed, `DeleteStream`): confirmed, after a grace, and then for good."""

from __future__ import annotations

from typing import Final

import msgspec

from felix.core.catalog.draft import Draft
from felix.core.catalog.move_ends import ended, take_back
from felix.core.catalog.placement_tables import DELETED_STREAMS
from felix.core.catalog.steps import Context, Outcome
from felix.proto.commands import DeleteStream
from felix.proto.errors import Conflict, NotFound, PreconditionFailed
from felix.proto.placement_commands import PurgeStream, UndeleteStream
from felix.proto.resources import Key, Stream

GONE: Final = "its stream was deleted"


def delete_stream(command: DeleteStream, context: Context) -> Outcome:
    """Let a stream serve nobody any more. Raises: NotFound, PreconditionFailed, Conflict.

    Whether it has subscribers only the leader knows, which has looked before it proposed this.
    """
    key, draft = _key(command, context), Draft(context)
    stream: Stream | None = context.store.tables["Stream"].rows.get(key)
    if stream is None:
        raise NotFound(f"there is no stream {'/'.join(key)!r}")
    if command.expected_version not in {None, stream.version}:
        raise PreconditionFailed(
            f"the stream {'/'.join(key)!r} was changed",
            details={"expected": command.expected_version or 0, "actual": stream.version},
        )
    is_durable = stream.spec.durability == "durable"
    if is_durable and command.refuse_durable and not command.force:
        raise Conflict(
            f"the stream {'/'.join(key)!r} has durable data: confirm that it may go",
            details={"reason": "durable"},
        )
    row = draft.placement(key)
    moves = [] if row is None else context.placement.moves_of_stream(row)
    if is_durable and command.grace_ms and not command.force:
        now_ms = context.now_ms
        for move in moves:
            take_back(draft, move, "failed", GONE)
        draft.put_row(
            DELETED_STREAMS,
            msgspec.structs.replace(
                stream, deleted_at_ms=now_ms, purge_at_ms=now_ms + command.grace_ms
            ),
        )
    else:
        for move in moves:
            ended(draft, move, "failed", GONE)
        if row is not None:
            draft.delete(row)
    draft.delete(stream)
    return draft.deleted()


def undelete_stream(command: UndeleteStream, context: Context) -> Outcome:
    """Take a deletion back. Raises: NotFound, Conflict."""
    key, draft = _key(command, context), Draft(context)
    if key in context.store.tables["Stream"].rows:
        raise Conflict(
            f"the stream {'/'.join(key)!r} is not deleted", details={"reason": "not_deleted"}
        )
    stream = _deleted(key, context)
    draft.delete_row(DELETED_STREAMS, stream)
    return draft.answer(draft.put(msgspec.structs.replace(stream, deleted_at_ms=0, purge_at_ms=0)))


def purge_stream(command: PurgeStream, context: Context) -> Outcome:
    """Remove a deleted stream for good. Raises: NotFound, Conflict."""
    key, draft = _key(command, context), Draft(context)
    if key in context.store.tables["Stream"].rows:
        raise Conflict(
            f"the stream {'/'.join(key)!r} is not deleted: delete it first",
            details={"reason": "not_deleted"},
        )
    stream = _deleted(key, context)
    if command.stream_id not in {"", stream.stream_id}:
        raise NotFound(f"there is no stream {'/'.join(key)!r} of this identity any more")
    if not command.now and context.now_ms < stream.purge_at_ms:
        raise Conflict(
            f"the deletion of {'/'.join(key)!r} can still be taken back",
            details={"reason": "grace", "purge_at_ms": stream.purge_at_ms},
        )
    row = draft.placement(key)
    if row is not None:
        draft.delete(row)
    draft.delete_row(DELETED_STREAMS, stream)
    return draft.deleted()


def _deleted(key: Key, context: Context) -> Stream:
    found: Stream | None = context.store.tables[DELETED_STREAMS].rows.get(key)
    if found is None:
        raise NotFound(f"there is no deleted stream {'/'.join(key)!r}")
    return found


def _key(command: DeleteStream | UndeleteStream | PurgeStream, context: Context) -> Key:
    """Make sure of tenant and namespace, in this order. Raises: NotFound."""
    tables, parent = context.store.tables, (command.tenant_id, command.namespace)
    if (command.tenant_id,) not in tables["Tenant"].rows:
        raise NotFound(f"there is no tenant {command.tenant_id!r}")
    if parent not in tables["Namespace"].rows:
        raise NotFound(f"there is no namespace {'/'.join(parent)!r}")
    return (*parent, command.stream)
