"""What an operator is told of brokers: what was heard, and whether they get shards."""

from __future__ import annotations

from felix.core.brokers.heartbeats import Beat, Heartbeats
from felix.core.brokers.reports import Reports, Said
from felix.core.catalog.eligibility import why_no_copies
from felix.proto.brokers import BrokerHealth, BrokersHealth
from felix.proto.errors import NotFound


def why_no_shards(beat: Beat) -> str:
    """Say why a broker gets no shards, or ""."""
    why = why_no_copies(beat.seen.broker, beat.seen.copies)
    if why or beat.health.healthy:
        return why
    said = beat.health.message
    return f"it reports that it is not well: {said}" if said else "it reports that it is not well"


def brokers_health(
    beats: Heartbeats, reports: Reports, version: int, now: float, broker_id: str = ""
) -> BrokersHealth:
    """Describe all brokers, or one; `version` is the metadata's. Raises: NotFound."""
    found = beats.beats()
    if broker_id:
        beat = beats.beat(broker_id)
        if beat is None:
            raise NotFound(f"there is no broker {broker_id!r}")
        found = [beat]
    items = [_health(one, beats, reports, version, now) for one in found]
    return BrokersHealth(items, int(beats.judges_in_s(now) * 1000))


def _health(
    beat: Beat, beats: Heartbeats, reports: Reports, version: int, now: float
) -> BrokerHealth:
    broker_id = beat.seen.broker.broker_id
    said = reports.said(broker_id) or Said(0)
    why_not = why_no_shards(beat)
    return BrokerHealth(
        broker_id=broker_id,
        heard_ms_ago=None if beat.at is None else int((now - beat.at) * 1000),
        health=beat.health,
        metrics=beat.metrics,
        applied_version=said.version,
        applied_digest=said.digest,
        is_wrong=said.is_wrong,
        lag_versions=max(0, version - said.version),
        subscribers=said.subscribers,
        accepts_shards=not why_not,
        why_not=why_not,
        copies=beat.seen.copies,
        leads=beat.seen.leads,
        changes_lately=beats.changes_lately(broker_id, now),
    )
