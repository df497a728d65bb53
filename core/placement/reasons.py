"""Why no broker can take a copy, in words."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from felix.core.placement.eligible import Reach, why_closed
from felix.core.placement.fleet import BrokerRow

NAMED_MAX: Final = 3
"""Brokers that one reason goes into."""


def why_nobody(
    brokers: Sequence[BrokerRow],
    room: Sequence[int],
    reach: Reach,
    having: Container[str],
    wanted: int,
    *,
    as_leader: bool = False,
) -> str:
    """Say why no broker takes one more copy of a shard: the first thing that is in the way.

    `room` is what the plan has left of each broker, `having` are the brokers with a copy, `wanted`
    is how many copies there should be.
    """
    if not brokers:
        return "there is no broker"
    open_ones = [row for row in brokers if not why_closed(row)]
    if not open_ones:
        return f"no broker takes shards: {_some([why_closed(row) for row in brokers])}"
    regions = reach.lead if as_leader else reach.follow
    inside = [row for row in open_ones if regions is None or row.region in regions]
    if not inside:
        allowed = ", ".join(sorted(regions or ()))
        return f"no broker in region {allowed} takes shards"
    without = [row for row in inside if row.broker_id not in having]
    if not without:
        count = "1 copy" if wanted == 1 else f"{wanted} copies"
        return f"{count} wanted, {len(inside)} broker{'' if len(inside) == 1 else 's'}"
    full = [
        f"{row.broker_id} is full ({max(row.copies, row.max_shards)} of {row.max_shards} shards)"
        for row, left in zip(brokers, room, strict=True)
        if left <= 0 and row.max_shards is not None and row in without
    ]
    return f"no other broker has room: {_some(full)}" if full else "no other broker has room"


def _some(reasons: Sequence[str]) -> str:
    more = len(reasons) - NAMED_MAX
    return "; ".join(reasons[:NAMED_MAX]) + (f"; and {more} more" if more > 0 else "")
