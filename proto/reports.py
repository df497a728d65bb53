"""What brokers tell the leader. Soft state: nothing of it is written to the log."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from felix.proto.brokers import BrokerMetrics, HealthStatus, ShardStatus


class Report(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", gc=False
):
    """Base of all reports. Every node passes them on to the leader."""

    broker_id: str
    broker_epoch: int
    """Of the broker's registration. Error: broker_fenced for another one; the broker stops serving,
    for good where a later boot has the id."""
    applied_version: int = 0
    """The metadata that the broker has in force; 0: none."""
    applied_epoch: int = 0
    applied_digest: str = ""
    """Of the metadata at that version, as the broker has worked it out."""


class ReportHealth(Report, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A heartbeat (seed, `ReportHealth`). Answer: `HealthAck`. Errors: not_found, broker_fenced."""

    status: HealthStatus = HealthStatus()
    metrics: BrokerMetrics = BrokerMetrics()
    shard_status: tuple[ShardStatus, ...] = ()
    """Copies of which there is something new to say since the last acknowledged report."""
    has_all_shards: bool = False
    """`shard_status` lists every copy that the broker holds: what is missing, it does not hold."""


class ReportApplied(Report, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """That new metadata is in force: said at once where the watch asks for it. Answer: `HealthAck`.

    Errors: not_found, broker_fenced.
    """


AnyReport: TypeAlias = ReportHealth | ReportApplied
