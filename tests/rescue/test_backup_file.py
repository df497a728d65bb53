"""The file of a backup: what is in it, and that nothing can happen to it unnoticed."""

from __future__ import annotations

import io

import msgspec
import pytest

from felix.core.catalog.backup import BackupHeader, BackupWriter, BadBackup, ReadBackup, read_backup
from felix.core.catalog.catalog import Catalog, CatalogLimits
from felix.core.catalog.dump import Dump
from felix.proto.ids import NodeId, Term
from felix.proto.raft import Membership
from felix.proto.resources import RESOURCE_TYPES
from tests.support.catalog_log import CatalogLog, cache, dumped, namespace, stream, tenant

NODE = NodeId("1" * 32)
LIMITS = CatalogLimits()


def world() -> CatalogLog:
    log = CatalogLog()
    log.make(tenant(), namespace(), stream("orders"), cache("rates"))
    log.do(tenant("beta"), key="k1")
    return log


def begun(catalog: Catalog, created_at_ms: int = 1_760_000_000_000) -> BackupWriter:
    header = BackupHeader(
        cluster_id=catalog.cluster_id,
        epoch=catalog.epoch,
        version=catalog.version,
        digest=catalog.digest,
        applied_index=catalog.applied_index,
        applied_term=Term(3),
        created_at_ms=created_at_ms,
        node_id=NODE,
        membership=Membership((NODE,)),
    )
    return BackupWriter(header, Dump(catalog))


def rest_of(writer: BackupWriter) -> bytes:
    pieces = []
    while not writer.is_complete:
        pieces.append(writer.next(2))
    return b"".join(pieces)


def read(data: bytes) -> ReadBackup:
    return read_backup(io.BytesIO(data).read, LIMITS)


def test_it_holds_the_whole_state_machine_of_the_moment_it_was_begun() -> None:
    log = world()
    before = dumped(log.catalog, records=2)
    version, digest = log.catalog.version, log.catalog.digest
    writer = begun(log.catalog)
    data = writer.next(1)
    log.make(tenant("later"))
    data += writer.next(1)
    log.make(stream("later"))
    found = read(data + rest_of(writer))
    assert (found.header.version, found.header.digest) == (version, digest)
    assert dumped(found.catalog, records=2) == before
    assert found.header.membership == Membership((NODE,))
    assert found.size_bytes > 500
    assert not log.catalog.store._views, "the view is closed"


def test_two_backups_of_one_moment_have_one_checksum() -> None:
    catalog = world().catalog
    assert read(rest_of(begun(catalog))).checksum == read(rest_of(begun(catalog))).checksum


def test_a_backup_of_nothing_is_a_backup() -> None:
    counts = read(rest_of(begun(Catalog("c1")))).catalog.counts()
    assert counts == dict.fromkeys(RESOURCE_TYPES, 0)


def test_every_flipped_bit_of_every_byte_is_found() -> None:
    data = rest_of(begun(world().catalog))
    read(data)
    for place in range(len(data)):
        for bit in (1, 0x80):
            damaged = bytearray(data)
            damaged[place] ^= bit
            with pytest.raises(BadBackup):
                read(bytes(damaged))


def test_every_cut_and_every_byte_too_much_or_too_few_is_found() -> None:
    data = rest_of(begun(world().catalog))
    for length in range(len(data)):
        with pytest.raises(BadBackup):
            read(data[:length])
        with pytest.raises(BadBackup):
            read(data[:length] + data[length + 1 :])
    with pytest.raises(BadBackup):
        read(data + b"\0")
    with pytest.raises(BadBackup):
        read(data + data)


def test_frames_that_were_exchanged_or_left_out_are_found() -> None:
    log = world()
    writer = begun(log.catalog)
    pieces = []
    while not writer.is_complete:
        pieces.append(writer.next(1))
    for place in range(1, len(pieces) - 1):
        with pytest.raises(BadBackup):
            read(b"".join(pieces[:place] + pieces[place + 1 :]))
        swapped = [*pieces]
        swapped[place], swapped[place - 1] = swapped[place - 1], swapped[place]
        with pytest.raises(BadBackup):
            read(b"".join(swapped))


def test_whole_frames_of_another_backup_of_the_same_moment_are_found() -> None:
    catalog = world().catalog
    one, other = begun(catalog), begun(catalog, created_at_ms=1_770_000_000_000)
    foreign_header = one.next(1)
    other.next(1)
    with pytest.raises(BadBackup, match="checksum"):
        read(foreign_header + rest_of(other))


def test_a_header_that_is_not_of_what_is_inside_is_found() -> None:
    log = world()
    stale = begun(log.catalog)
    log.make(tenant("more"))
    dump = begun(log.catalog)
    mixed = BackupWriter(stale._header, dump._dump)  # type: ignore[arg-type]  # it has not been written
    with pytest.raises(BadBackup, match="the header says"):
        read(rest_of(mixed))


def test_a_header_of_another_feature_level_than_what_is_inside_is_found() -> None:
    writer = begun(world().catalog)
    assert writer._header is not None
    writer._header = msgspec.structs.replace(writer._header, feature_level=2)
    with pytest.raises(BadBackup, match="the header says"):
        read(rest_of(writer))


def test_a_length_out_of_all_reason_takes_no_memory() -> None:
    data = bytearray(rest_of(begun(world().catalog)))
    data[15:19] = b"\xff\xff\xff\xff"
    with pytest.raises(BadBackup, match="4294967295"):
        read(bytes(data))
