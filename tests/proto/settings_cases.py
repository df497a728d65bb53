"""Records of quotas, settings and feature flags for the golden vectors."""

from __future__ import annotations

from typing import Any

from felix.proto import brokers, queries, resources, setting_commands
from felix.proto.rpc import AnyRequest
from felix.proto.settings import SettingRule

IDLE = SettingRule(
    type="duration", description="How long an idle client is kept", minimum=1000, maximum=3_600_000
)
SETTING = resources.ClusterSetting(
    name="broker.idle_timeout",
    value=300_000,
    rule=IDLE,
    version=11,
    created_version=11,
    created_at_ms=1_760_000_000_020,
    updated_at_ms=1_760_000_000_020,
)
FLAG = resources.FeatureFlag(
    name="zero-copy",
    enabled=True,
    description="Send without copies",
    version=12,
    created_version=12,
    created_at_ms=1_760_000_000_021,
    updated_at_ms=1_760_000_000_021,
)


def requests() -> list[AnyRequest]:
    """Every command and query about quotas, settings and flags."""
    return [
        queries.GetUsage(tenant_id="acme"),
        queries.GetReportedUsage(tenant_id="acme", namespace="prod"),
        setting_commands.PutSetting(name=SETTING.name, value="5m", rule=IDLE),
        setting_commands.DeleteSetting(name="placement.rebuild_after", expected_version=9),
        setting_commands.PutFeatureFlag(
            name=FLAG.name, enabled=True, description=FLAG.description, expected_version=0
        ),
        setting_commands.DeleteFeatureFlag(name=FLAG.name),
        queries.ListSettings(),
        queries.GetSetting(name=SETTING.name),
        queries.ListFeatureFlags(filter="zero*"),
        queries.GetFeatureFlag(name=FLAG.name),
    ]


def answers() -> dict[str, tuple[str, Any, int]]:
    """Every answer about them, by name: what it is, the record, the version."""
    counted = queries.Usage(
        tenant_id="acme",
        quotas=resources.Quotas(max_streams=1000),
        namespaces=1,
        streams=3,
        deleted_streams=1,
        caches=1,
        streams_left=997,
    )
    reported = brokers.ReportedUsage(
        brokers=3, publish_per_s=2.5, subscribe_connections=4, storage_bytes=1024, cache_bytes=9
    )
    return {
        "usage": ("what a tenant may have and has", counted, 11),
        "setting": ("the answer to PutSetting", SETTING, 11),
        "feature-flag": ("the answer to PutFeatureFlag", FLAG, 12),
        "reported-usage": ("what brokers have reported of it", reported, 11),
    }
