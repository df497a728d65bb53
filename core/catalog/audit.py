"""The audit trail: what became of every command, in a chain that shows any change to it.

Each record's hash covers the record before it, so whoever noted one hash can prove everything up
to it (`felix-admin audit verify`). Records are collected in an open tail; a full tail becomes one
row of a table of the store. Hashes are computed then, or when somebody asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from felix.core.catalog.audit_subjects import subject_of
from felix.core.catalog.store import Store
from felix.proto import codec
from felix.proto.commands import Proposal, RecordRefusals
from felix.proto.errors import ErrorReply, ValidationFailed
from felix.proto.identity import AuditPage, AuditRecord
from felix.proto.placement_commands import AdvanceMoves, ChangeInSync
from felix.proto.queries import GetAudit
from felix.proto.resources import Key

AUDIT: Final = "audit"
SUCCESS: Final = "success"
SEGMENT_RECORDS: Final = 256
HASH_BYTES: Final = 32
GENESIS: Final = bytes(HASH_BYTES)
"""Stands for the hash of the record before the first."""
TEXT_CHARS_MAX: Final = 512
"""What a caller chose is cut to this: one record must not outweigh thousands."""
OBJECT_CHARS_MAX: Final = 1024

_CHATTER: Final = (AdvanceMoves, ChangeInSync)
"""Follow from what brokers report: while copies are made there are some every second, and they
would push everything else out of the trail."""
_OWN: Final = "felix:"
"""Principals of the control plane's own actors."""

PAGE_SIZE_MAX: Final = 1000
PAGE_SIZE_DEFAULT: Final = 100
SEGMENTS_READ_MAX: Final = 5
"""A page is found in the consensus thread: so many segments are decoded for it, no more."""
SEGMENTS_SEARCHED_MAX: Final = 40
"""In so many it is looked for the wanted texts, which takes a tenth of decoding them."""

_records: Final = codec.Decoder[list[AuditRecord]](list[AuditRecord])
_parts: Final = codec.Decoder[list[msgspec.Raw]](list[msgspec.Raw])


class AuditSegment(msgspec.Struct, frozen=True, gc=False):
    """Some records in a row, as they are kept; with fewer than `SEGMENT_RECORDS` the open tail."""

    first: int
    """Sequence of the first record."""
    previous: bytes
    """Hash of the record before it."""
    records: bytes
    """The encoded list."""
    last: bytes
    """Hash of the last record."""
    earliest_ms: int
    latest_ms: int

    @property
    def key(self) -> Key:
        """Where it is kept: names sort as numbers do."""
        return (f"{self.first:020d}",)


class AuditTrail:
    """The newest records, and the hash of the one before them."""

    def __init__(self, store: Store, records_max: int) -> None:
        """`records_max` bounds the closed segments; the oldest go first, whole."""
        self._store = store
        self._records_max = records_max
        self._tail: list[AuditRecord] = []
        self._encoded: list[bytes] = []
        self._hashes: list[bytes] = []
        """Of the tail's records, as far as somebody has asked."""
        self._tail_first = 1
        self._closed_hash = GENESIS

    @property
    def first_sequence(self) -> int:
        """The oldest record that is kept; one more than the last one if there is none."""
        keys = self._store.tables[AUDIT].keys
        return int(keys[0][0]) if keys else self._tail_first

    @property
    def last_sequence(self) -> int:
        """The newest record, 0 before the first."""
        return self._tail_first + len(self._tail) - 1

    @property
    def last_hash(self) -> bytes:
        """Of the newest record."""
        self._hash_tail()
        return self._hashes[-1] if self._hashes else self._closed_hash

    @property
    def proof(self) -> str:
        """What replicas hold against each other, without hashing anything."""
        return f"{self.last_sequence}:{self._closed_hash.hex()}"

    # --- recording ----------------------------------------------------------------------------

    def record(self, index: int, proposal: Proposal, result: object, version: int) -> None:
        """Note what became of a command; of refused requests that it brings, each.

        Steps of what was decided before are left out, as the leader does them by itself.
        """
        command, stamp = proposal.command, proposal.stamp
        error = result if isinstance(result, ErrorReply) else None
        if isinstance(command, RecordRefusals) and error is None:
            self._record_refusals(index, command, stamp.time_ms, version)
            return
        if error is None and isinstance(command, _CHATTER) and stamp.principal.startswith(_OWN):
            return
        tenant_id, namespace, what = subject_of(command, stamp)
        self._append(
            AuditRecord(
                sequence=self._tail_first + len(self._tail),
                index=index,
                time_ms=stamp.time_ms,
                operation=type(command).__name__,
                result=SUCCESS if error is None else error.code,
                principal=stamp.principal[:TEXT_CHARS_MAX],
                tenant_id=tenant_id,
                namespace=namespace,
                object=what[:OBJECT_CHARS_MAX],
                reason="" if error is None else error.message[:TEXT_CHARS_MAX],
                source=stamp.source[:TEXT_CHARS_MAX],
                request_id=stamp.request_id[:TEXT_CHARS_MAX],
                version=version,
            )
        )

    def _record_refusals(
        self, index: int, command: RecordRefusals, time_ms: int, version: int
    ) -> None:
        for one in command.refusals:
            self._append(
                AuditRecord(
                    sequence=self._tail_first + len(self._tail),
                    index=index,
                    time_ms=one.time_ms,
                    operation=one.operation[:TEXT_CHARS_MAX],
                    result=one.code[:TEXT_CHARS_MAX],
                    principal=one.principal[:TEXT_CHARS_MAX],
                    tenant_id=one.tenant_id[:TEXT_CHARS_MAX],
                    namespace=one.namespace[:TEXT_CHARS_MAX],
                    object=one.object[:OBJECT_CHARS_MAX],
                    reason=one.reason[:TEXT_CHARS_MAX],
                    source=one.source[:TEXT_CHARS_MAX],
                    request_id=one.request_id[:TEXT_CHARS_MAX],
                    version=version,
                    count=one.count,
                )
            )
        if command.dropped:
            self._append(
                AuditRecord(
                    sequence=self._tail_first + len(self._tail),
                    index=index,
                    time_ms=time_ms,
                    operation="DropRefusals",
                    result="overloaded",
                    object=f"node:{command.node}"[:OBJECT_CHARS_MAX],
                    reason="refused requests that there was no room for",
                    version=version,
                    count=command.dropped,
                )
            )

    def _append(self, record: AuditRecord) -> None:
        self._tail.append(record)
        if len(self._tail) == SEGMENT_RECORDS:
            self._close_tail()

    def _close_tail(self) -> None:
        segment = self.tail()
        assert segment is not None
        self._store.put(AUDIT, segment.key, segment)
        self._begin_tail(segment.first + SEGMENT_RECORDS, segment.last)
        table = self._store.tables[AUDIT]
        while len(table.keys) > 1 and len(table.keys) * SEGMENT_RECORDS > self._records_max:
            self._store.remove(AUDIT, table.keys[0])

    def _begin_tail(self, first: int, previous: bytes) -> None:
        self._tail_first, self._closed_hash = first, previous
        self._tail, self._encoded, self._hashes = [], [], []

    def _hash_tail(self) -> None:
        hashes, last = self._hashes, self._hashes[-1] if self._hashes else self._closed_hash
        for record in self._tail[len(hashes) :]:
            encoded = codec.encode(record)
            last = hash_of(last, encoded)
            self._encoded.append(encoded)
            hashes.append(last)

    # --- dump and restore ---------------------------------------------------------------------

    def tail(self) -> AuditSegment | None:
        """Give the records that are not in the store yet, as a row; nothing changes."""
        if not self._tail:
            return None
        self._hash_tail()
        times = [record.time_ms for record in self._tail]
        return AuditSegment(
            first=self._tail_first,
            previous=self._closed_hash,
            records=codec.encode([msgspec.Raw(one) for one in self._encoded]),
            last=self._hashes[-1],
            earliest_ms=min(times),
            latest_ms=max(times),
        )

    def restore(self) -> None:
        """Take up what a dump put into the store: a last row that is not full is the open tail."""
        table = self._store.tables[AUDIT]
        if not table.keys:
            return
        newest: AuditSegment = table.rows[table.keys[-1]]
        records = _records.decode(newest.records)
        if len(records) == SEGMENT_RECORDS:
            self._begin_tail(newest.first + SEGMENT_RECORDS, newest.last)
            return
        self._store.remove(AUDIT, newest.key)
        self._begin_tail(newest.first, newest.previous)
        self._tail = records

    # --- reading ------------------------------------------------------------------------------

    def page(self, query: GetAudit) -> AuditPage:
        """Find records, newest first; a page may be short, and `next_before` says where to go on.

        Raises: ValidationFailed.
        """
        _check(query)
        size = query.page_size or PAGE_SIZE_DEFAULT
        items: list[AuditRecord] = []
        hashes: list[bytes] = []
        previous = b""
        edge = searched = read = 0
        for segment in self._newest_first(query.before):
            if read == SEGMENTS_READ_MAX or searched == SEGMENTS_SEARCHED_MAX:
                break
            edge = segment.first
            if not _is_of_the_time(segment, query):
                continue
            searched += 1
            if not all(text.encode() in segment.records for text in _texts(query)):
                continue
            read += 1
            found = _found_in(segment, query)[: size - len(items)]
            if found:
                chain = _chain(segment)
                items += found
                hashes += [chain[one.sequence - segment.first + 1] for one in found]
                previous = chain[found[-1].sequence - segment.first]
            if len(items) == size:
                edge = items[-1].sequence
                break
        first = self.first_sequence
        return AuditPage(
            tuple(items),
            tuple(hashes),
            first,
            self.last_sequence,
            self.last_hash,
            next_before=edge if edge > first else 0,
            previous_hash=previous,
        )

    def _newest_first(self, before: int) -> Iterator[AuditSegment]:
        """Go back through what has records below a sequence; 0: through everything."""
        tail = self.tail()
        if tail is not None and (not before or tail.first < before):
            yield tail
        table = self._store.tables[AUDIT]
        low = (f"{before:020d}",) if before else None
        for key in table.keys.irange(None, low, (True, False), reverse=True):
            yield table.rows[key]


def hash_of(previous: bytes, encoded: bytes) -> bytes:
    """Hash a record, given the hash of the one before it and its own encoding."""
    return hashlib.blake2b(previous + encoded, digest_size=HASH_BYTES).digest()


def _chain(segment: AuditSegment) -> list[bytes]:
    """Compute the hashes of a segment's records, behind that of the record before them."""
    chain = [segment.previous]
    for part in _parts.decode(segment.records):
        chain.append(hash_of(chain[-1], bytes(part)))
    return chain


def _is_of_the_time(segment: AuditSegment, query: GetAudit) -> bool:
    is_too_new = bool(query.to_ms) and segment.earliest_ms > query.to_ms
    return segment.latest_ms >= query.from_ms and not is_too_new


def _found_in(segment: AuditSegment, query: GetAudit) -> list[AuditRecord]:
    """List the records that a query asks for, newest first."""
    return [
        one
        for one in reversed(_records.decode(segment.records))
        if (not query.before or one.sequence < query.before)
        and query.from_ms <= one.time_ms
        and (not query.to_ms or one.time_ms <= query.to_ms)
        and (not query.tenant_id or one.tenant_id == query.tenant_id)
        and (not query.principal or one.principal == query.principal)
        and (not query.operation or one.operation == query.operation)
        and (not query.result or one.result == query.result)
        and (not query.request_id or one.request_id == query.request_id)
    ]


def _texts(query: GetAudit) -> tuple[str, ...]:
    """List what must stand in the bytes of a segment, if only empty, the rarest first."""
    return (query.request_id, query.principal, query.tenant_id, query.operation, query.result)


def _check(query: GetAudit) -> None:
    if not 0 <= query.page_size <= PAGE_SIZE_MAX:
        raise _invalid("page_size", f"must be 0 to {PAGE_SIZE_MAX}")
    for member in ("before", "from_ms", "to_ms"):
        if getattr(query, member) < 0:
            raise _invalid(member, "must not be negative")


def _invalid(member: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"/{member}: {why}", details={"pointer": f"/{member}"})
