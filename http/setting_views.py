"""What clients get of settings and feature flags."""

from __future__ import annotations

import msgspec

from felix.http.times import rfc3339
from felix.proto.resources import ClusterSetting, FeatureFlag
from felix.proto.settings import OWN, SettingRule, SettingType, SettingValue


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of the whole cluster."""

    name: str
    type: SettingType
    value: SettingValue | None
    """Durations in milliseconds; null: it is not set, and each process goes by its own."""
    description: str
    minimum: int | None
    maximum: int | None
    choices: list[str]
    """Of a string; empty: any."""
    version: int
    """0 where it is not set."""
    created_version: int
    created_at: str | None
    updated_at: str | None


class SettingPage(msgspec.Struct, frozen=True):
    """All settings that there are, set or not, in the order of names."""

    items: list[SettingView]


class FeatureFlagView(msgspec.Struct, frozen=True, kw_only=True):
    """A feature of brokers that is switched for all of them at once."""

    name: str
    enabled: bool
    description: str
    version: int
    created_version: int
    created_at: str
    updated_at: str


class FeatureFlagPage(msgspec.Struct, frozen=True):
    """Feature flags in the order of names."""

    items: list[FeatureFlagView]
    next_page_token: str


def setting_view(setting: ClusterSetting) -> SettingView:
    """Render a setting that is set."""
    rule = setting.rule or OWN[setting.name]
    return _view(setting.name, rule, setting)


def unset_view(name: str) -> SettingView:
    """Render one of the control plane's own that is not set."""
    return _view(name, OWN[name], None)


def _view(name: str, rule: SettingRule, row: ClusterSetting | None) -> SettingView:
    return SettingView(
        name=name,
        type=rule.type,
        value=None if row is None else row.value,
        description=rule.description,
        minimum=rule.minimum,
        maximum=rule.maximum,
        choices=list(rule.choices),
        version=0 if row is None else row.version,
        created_version=0 if row is None else row.created_version,
        created_at=None if row is None else rfc3339(row.created_at_ms),
        updated_at=None if row is None else rfc3339(row.updated_at_ms),
    )


def feature_flag_view(flag: FeatureFlag) -> FeatureFlagView:
    """Render a feature flag."""
    return FeatureFlagView(
        name=flag.name,
        enabled=flag.enabled,
        description=flag.description,
        version=flag.version,
        created_version=flag.created_version,
        created_at=rfc3339(flag.created_at_ms),
        updated_at=rfc3339(flag.updated_at_ms),
    )
