"""What a node says of its catalog and its API in numbers."""

from __future__ import annotations

import msgspec

from felix.proto.ids import Epoch, Index, Version


class CatalogStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of catalog and API at one moment."""

    applied_index: Index
    version: Version
    epoch: Epoch
    digest: str
    counts: dict[str, int]
    requests: int
    commands_pending: int
    queries_pending: int
    forwards_pending: int
    watchers: int
    gaps_repaired: int
    """Batches of updates that somebody had missed, handed out by RPC."""
    snapshots_rendered: int
    malformed: int
    replies_dropped: int
