"""Commands about settings of the whole cluster and feature flags (seed, "RAFT Scope")."""

from __future__ import annotations

from typing import TypeAlias

from felix.proto.command import Conditional
from felix.proto.settings import SettingRule, SettingValue


class PutSetting(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Set a setting. Answer: `ClusterSetting`.

    Errors: not_found (nobody knows it, and there is no `rule`), precondition_failed, too_large;
    conflict with `details.reason` `value`: it breaks the setting's rule.
    """

    name: str
    value: SettingValue
    rule: SettingRule | None = None
    """Of one under `broker.`: its rule from now on; None: the one that it has."""


class DeleteSetting(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Set a setting no longer: what each process has by itself holds again. Answer: `Deleted`.

    Errors: not_found, precondition_failed.
    """

    name: str


class PutFeatureFlag(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Switch a feature of brokers on or off. Answer: `FeatureFlag`.

    Errors: not_found (it is not there, and no `description` makes it), precondition_failed,
    too_large.
    """

    name: str
    enabled: bool
    description: str | None = None
    """None: it stays; of a new flag it is needed, so that a slip of the pen makes none."""


class DeleteFeatureFlag(Conditional, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Forget a flag: brokers go by their own default. Answer: `Deleted`.

    Errors: not_found, precondition_failed.
    """

    name: str


SettingCommand: TypeAlias = PutSetting | DeleteSetting | PutFeatureFlag | DeleteFeatureFlag
