"""The audit trail as clients see it: the names of the specification, and what a chain needs.

A record is written in one way only. So `felix-admin audit verify` can compute the hash of each
from what is in a file, and any other spelling of it is a change.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from felix.http.times import rfc3339
from felix.proto.identity import AuditPage, AuditRecord


class AuditRecordView(msgspec.Struct, frozen=True, kw_only=True):
    """What was done or refused, by whom, from where."""

    sequence: int
    """Contiguous."""
    timestamp: str
    operation: str
    principal: str
    tenant: str
    namespace: str
    stream: str | None
    """Its name, where it is about one."""
    cache: str | None
    object: str
    """Kind and name of what it was about."""
    result: str
    """`success`, or the code of the refusal."""
    reason: str
    """Why it was refused, exactly: more than the caller was told."""
    request_id: str
    source: str
    """Address of the caller."""
    version: int
    """Of the metadata, after it."""
    index: int
    """Of the log entry."""
    count: int
    """How many like this there were at once."""
    hash: str
    """BLAKE2b-256 over the hash of the record before it and this one, hex."""


class AuditPageView(msgspec.Struct, frozen=True, kw_only=True):
    """Records, newest first."""

    items: list[AuditRecordView]
    next_before: int
    """`before` for the next page; 0: that was the end."""
    first_sequence: int
    """The oldest record that is kept, whatever was asked for."""
    last_sequence: int
    last_hash: str
    previous_hash: str
    """Of the record just before the last item, hex; empty without items."""


def page_view(page: AuditPage) -> AuditPageView:
    """Render a page."""
    return AuditPageView(
        items=[
            record_view(record, hash_)
            for record, hash_ in zip(page.items, page.hashes, strict=True)
        ],
        next_before=page.next_before,
        first_sequence=page.first_sequence,
        last_sequence=page.last_sequence,
        last_hash=page.last_hash.hex(),
        previous_hash=page.previous_hash.hex(),
    )


def record_view(record: AuditRecord, hash_: bytes) -> AuditRecordView:
    """Render a record."""
    kind, _, name = record.object.partition(":")
    return AuditRecordView(
        sequence=record.sequence,
        timestamp=rfc3339(record.time_ms),
        operation=record.operation,
        principal=record.principal,
        tenant=record.tenant_id,
        namespace=record.namespace,
        stream=name if kind == "stream" else None,
        cache=name if kind == "cache" else None,
        object=record.object,
        result=record.result,
        reason=record.reason,
        request_id=record.request_id,
        source=record.source,
        version=record.version,
        index=record.index,
        count=record.count,
        hash=hash_.hex(),
    )


def record_of(view: AuditRecordView) -> AuditRecord:
    """Read a record back. Raises: ValueError for a time that is none."""
    return AuditRecord(
        sequence=view.sequence,
        index=view.index,
        time_ms=unix_ms(view.timestamp),
        operation=view.operation,
        result=view.result,
        principal=view.principal,
        tenant_id=view.tenant,
        namespace=view.namespace,
        object=view.object,
        reason=view.reason,
        source=view.source,
        request_id=view.request_id,
        version=view.version,
        count=view.count,
    )


_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII
)


def unix_ms(text: str) -> int:
    """Read RFC 3339, to the millisecond. Raises: ValueError."""
    match = _TIME.fullmatch(text.upper())
    if match is None:
        raise ValueError("must be a time as in 2026-01-31T12:00:00Z")
    moment = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
    seconds = (moment - datetime.fromtimestamp(0, UTC)).total_seconds()
    return int(seconds) * 1000 + int(f"{match[2] or '0':0<3}"[:3])
