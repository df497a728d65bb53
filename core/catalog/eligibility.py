"""Which brokers may receive copies of which shards. The planner asks, and apply asks again."""

from __future__ import annotations

from collections.abc import Iterable, Set

from felix.proto.resources import Bridge, Broker, Stream


def why_no_copies(broker: Broker | None, copies: int) -> str:
    """Say why a broker with so many copies, those on their way included, takes no more, or ""."""
    if broker is None:
        return "it is not registered"
    if broker.drain:
        return f"it is to be empty, and is {broker.status}"
    if broker.status != "active":
        return f"it is {broker.status}"
    most = broker.capacity.max_shards
    if most is not None and copies >= most:
        return f"it holds {copies} of {most} copies at most"
    return ""


def why_not_there(stream: Stream, region: str, bridged: Set[str], *, leads: bool) -> str:
    """Say why a copy of a stream may not be in a region, or "".

    `bridged` are the regions that `regions_bridged` gives; leaders stay out of these.
    """
    allowed = stream.spec.regions
    if not allowed or region in allowed or (not leads and region in bridged):
        return ""
    what = "led" if leads else "kept"
    return f"the stream is {what} in {', '.join(allowed)}, not in {region or 'no region'}"


def regions_bridged(stream: Stream, bridges: Iterable[Bridge]) -> frozenset[str]:
    """Gather the regions that bridges open to a stream's followers."""
    return frozenset(
        one.target_region
        for one in bridges
        if one.source_region in stream.spec.regions
        and any(name.key == stream.key for name in one.streams)
    )
