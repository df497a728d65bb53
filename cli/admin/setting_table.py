"""Commands about settings of the whole cluster, feature flags, and what is used of quotas."""

from __future__ import annotations

from typing import Final

from felix.cli.admin.command import Command, Spelling

SETTINGS: Final = ("NAME=name", "TYPE=type", "VALUE=value", "WHAT IT IS=description")
FLAGS: Final = ("NAME=name", "ENABLED=enabled", "WHAT IT IS=description", "UPDATED=updated_at")
_RULE: Final = {
    "value": Spelling("--value", "true, false, a number, 90s, or text.", "value", "VALUE"),
    "type": Spelling("--type", "Of a new setting of brokers: what its values are."),
    "minimum": Spelling("--minimum", "Of a new one: no number, and no time, below it."),
    "maximum": Spelling("--maximum", "Of a new one: none above it."),
    "choices": Spelling("--choice", "Of a new one: a text that it may be; repeated.", "texts"),
}

SETTING_COMMANDS: Final = (
    Command(name="tenant usage", operation="get_tenant_usage", own="tenant_id"),
    Command(name="namespace usage", operation="get_namespace_usage", own="namespace"),
    Command(name="system report", operation="get_node_report"),
    Command(name="config list", operation="list_settings", columns=SETTINGS),
    Command(name="config get", operation="get_setting", own="setting"),
    Command(
        name="config set",
        operation="put_setting",
        own="setting",
        spelled=_RULE,
        required=("value",),
    ),
    Command(
        name="config unset",
        operation="delete_setting",
        own="setting",
        done="{setting} is not set any more: each process goes by its own",
    ),
    Command(name="flag list", operation="list_feature_flags", columns=FLAGS),
    Command(name="flag get", operation="get_feature_flag", own="flag"),
    Command(
        name="flag enable",
        operation="put_feature_flag",
        own="flag",
        without=("enabled",),
        shape=lambda body: {**body, "enabled": True},
    ),
    Command(
        name="flag disable",
        operation="put_feature_flag",
        own="flag",
        without=("enabled",),
        shape=lambda body: {**body, "enabled": False},
    ),
    Command(
        name="flag delete",
        operation="delete_feature_flag",
        own="flag",
        destroys="Brokers go by what they do by default, and the flag {flag} is forgotten",
        done="flag {flag} is forgotten",
    ),
)
