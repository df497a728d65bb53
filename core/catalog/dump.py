"""The whole state machine as bytes, for the snapshot of the log; and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from felix.core.catalog.audit import AUDIT, SEGMENT_RECORDS, AuditSegment
from felix.core.catalog.catalog import INTERNAL, PUBLIC, ROWS, Catalog, CatalogLimits
from felix.core.catalog.feed import TOMBSTONES, Tombstone
from felix.core.catalog.idempotency import KEYS, Remembered
from felix.core.catalog.identity_tables import encoded_row
from felix.core.catalog.placement_tables import key_of
from felix.core.catalog.renewal import NONE, Renewal
from felix.core.catalog.view import Walk
from felix.proto import codec
from felix.proto.brokers import MovePlan, PlacementSettings, ShardMove
from felix.proto.digest import Digest
from felix.proto.errors import FelixError
from felix.proto.ids import Index
from felix.proto.levels import FEATURE_LEVEL, TooOld, unknown
from felix.proto.resources import RESOURCE_TYPES, Key, ResourceKind

T = TypeVar("T")

FORMAT: Final = 1
CHECKSUM_BYTES: Final = 16


class BadDump(Exception):
    """A dump is not what a catalog wrote."""


class Envelope(msgspec.Struct, frozen=True):
    """What can be read of a header that a newer build wrote."""

    format: int
    feature_level: int = 1


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first chunk."""

    format: int
    cluster_id: str
    epoch: int
    version: int
    digest: str
    applied_index: int
    log_time_ms: int
    last_seq: dict[ResourceKind, int]
    feature_level: int = 1
    renewal: Renewal = NONE
    rows_digest: str = Digest().hex()


class Trailer(msgspec.Struct, frozen=True):
    """The last chunk: without it the dump was cut off."""

    checksum: bytes
    """BLAKE2b-128 of all chunks before, one after the other."""


class Dump:
    """Writes down a catalog as it was when this was made, a slice at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._view = view = catalog.view()
        self._header: Header | None = Header(
            FORMAT,
            catalog.cluster_id,
            catalog.epoch,
            catalog.version,
            catalog.digest,
            catalog.applied_index,
            catalog.log_time_ms,
            dict(catalog.feeds.last_seq),
            catalog.feature_level,
            catalog.renewal,
            catalog.rows_digest,
        )
        self._walk = Walk(view, (*PUBLIC, *INTERNAL), {AUDIT: SEGMENT_RECORDS})
        self._audit_tail = catalog.audit.tail()
        self._checksum = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
        self._is_complete = False

    @property
    def held(self) -> int:
        """How many rows that have changed since are kept for this."""
        return self._view.held

    def close(self) -> None:
        """Stop before the end."""
        self._walk.close()

    def step(self, records_max: int) -> bytes | None:
        """Write the next chunk; None after the last."""
        if self._is_complete:
            return None
        if self._header is not None:
            chunk = codec.encode(self._header)
            self._header = None
        elif (found := self._walk.next(records_max)) is not None:
            chunk = codec.encode(found)
        elif self._audit_tail is not None:
            chunk = codec.encode((AUDIT, [self._audit_tail]))
            self._audit_tail = None
        else:
            self._is_complete = True
            return codec.encode(Trailer(self._checksum.digest()))
        self._checksum.update(chunk)
        return chunk


def restore(chunks: Iterable[bytes], limits: CatalogLimits) -> Catalog:
    """Build the catalog that was dumped. Raises: BadDump, TooOld."""
    iterator = _without_trailer(chunks)
    try:
        header = _header(next(iterator, b""))
        catalog = Catalog(header.cluster_id, header.epoch, limits)
        digest, rows_digest = _fill(catalog, iterator)
    except (FelixError, TooOld) as error:
        for _ in iterator:
            pass  # only what is whole tells of a newer build; else it is damaged
        if isinstance(error, TooOld):
            raise
        raise unknown("the snapshot", str(error)) from error
    if digest.hex() != header.digest:
        raise BadDump(f"the objects have digest {digest.hex()}, the header says {header.digest}")
    if rows_digest.hex() != header.rows_digest:
        raise BadDump(
            f"what only members see has digest {rows_digest.hex()}, the header says "
            f"{header.rows_digest}"
        )
    catalog.take_up(
        version=header.version,
        applied_index=Index(header.applied_index),
        log_time_ms=header.log_time_ms,
        feature_level=header.feature_level,
        digest=digest,
        rows_digest=rows_digest,
        last_seq=header.last_seq,
        renewal=header.renewal,
    )
    return catalog


def _header(chunk: bytes) -> Header:
    envelope = codec.Decoder[Envelope](Envelope).decode(chunk)
    if envelope.feature_level > FEATURE_LEVEL or envelope.format > FORMAT:
        raise TooOld(
            f"the snapshot needs feature level {envelope.feature_level} (format "
            f"{envelope.format}), this build has {FEATURE_LEVEL} (format {FORMAT})"
        )
    if envelope.format != FORMAT:
        raise BadDump(f"format {envelope.format}, this build reads {FORMAT}")
    return _strictly(codec.Decoder[Header](Header), chunk)


def _strictly(decoder: codec.Decoder[T], data: bytes) -> T:
    """Read what this build would have written just so; see `levels.read_proposal`."""
    found = decoder.decode(data)
    if codec.encode(found) != data:
        raise unknown("the snapshot", f"a member of {type(found).__name__}")
    return found


def _without_trailer(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass all chunks on but the last, which must be the trailer and agree with them."""
    checksum = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
    pending: bytes | None = None
    for chunk in chunks:
        if pending is not None:
            checksum.update(pending)
            yield pending
        pending = chunk
    if pending != codec.encode(Trailer(checksum.digest())):
        raise BadDump("the last chunk is missing, or is not the checksum of those before it")


_tables = codec.Decoder[tuple[str, msgspec.Raw]](tuple[str, msgspec.Raw])
_rows: Final[dict[str, codec.Decoder[list[Any]]]] = {
    **{kind: codec.Decoder(list[type_]) for kind, type_ in RESOURCE_TYPES.items()},  # type: ignore[valid-type]  # a type made at run time
    **{table: codec.Decoder(list[type_]) for table, type_ in ROWS.items()},  # type: ignore[valid-type]  # likewise
    AUDIT: codec.Decoder(list[AuditSegment]),
    KEYS: codec.Decoder(list[Remembered]),
    TOMBSTONES: codec.Decoder(list[Tombstone]),
}


def _fill(catalog: Catalog, chunks: Iterable[bytes]) -> tuple[Digest, Digest]:
    """Put all rows into the store; compute the digests of objects and of other rows."""
    digest, rows_digest = Digest(), Digest()
    tables: dict[str, dict[Key, Any]] = {table: {} for table in catalog.store.tables}
    for chunk in chunks:
        table, rows = _rows_of(chunk)
        tables[table].update([(_key_of(row), row) for row in rows])
        if table in RESOURCE_TYPES:
            for row in rows:
                digest.add(codec.encode(row))
        elif table in ROWS:
            for row in rows:
                rows_digest.add(encoded_row(table, row))
    for table, found in tables.items():
        catalog.store.tables[table].fill(found)
    return digest, rows_digest


def _rows_of(chunk: bytes) -> tuple[str, list[Any]]:
    table, raw = _tables.decode(chunk)
    if table not in _rows:
        raise unknown("the snapshot", f"the table {table!r}")
    return table, _strictly(_rows[table], bytes(raw))


def _key_of(row: Any) -> Key:
    if isinstance(row, Remembered):
        return (row.principal, row.key)
    if isinstance(row, Tombstone):
        return (row.kind, *row.object.key)
    if isinstance(row, ShardMove | MovePlan | PlacementSettings):
        return key_of(row)
    key: Key = row.key
    return key
