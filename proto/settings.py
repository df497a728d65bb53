"""Settings of the whole cluster: which there are, of what type, and within which bounds.

Names under `broker.` are what brokers understand: whoever sets one first says its rule, which is
kept with it. All others are the control plane's own and stand in `OWN`. What stands in `OWN` is
part of the feature level (`felix.proto.levels`): one more needs a higher level.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

import msgspec

SettingType = Literal["bool", "int", "string", "duration"]
SettingValue: TypeAlias = bool | int | str

OF_BROKERS: Final = "broker."
"""How the names of settings begin that the control plane itself does not know."""
TEXT_CHARS_MAX: Final = 1024
INTEGER_MAX: Final = (1 << 63) - 1
_UNITS_MS: Final = {
    "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000,
}  # fmt: skip
_WORDS: Final = re.compile(r"([0-9]{1,19}) ?([a-z]+)", re.ASCII)


class SettingRule(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What a setting may be."""

    type: SettingType
    """Durations are milliseconds, and are also taken in words: `90s`, `5m`."""
    description: str
    minimum: int | None = None
    """Of whole numbers and durations."""
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    """Of strings; empty: any."""


OWN: Final[dict[str, SettingRule]] = {
    "placement.moves_per_broker": SettingRule(
        type="int",
        description="Shards that may be on their way from a broker or to it at the same time; "
        "unset: `brokers.moves_per_broker` of the node that leads.",
        minimum=1,
        maximum=100,
    ),
    "placement.rebuild_after": SettingRule(
        type="duration",
        description="A broker that has been down for so long is not waited for: its copies are "
        "made elsewhere; unset: `brokers.rebuild_after_s` of the node that leads.",
        minimum=1000,
        maximum=30 * 86_400_000,
    ),
}
"""In the order of names."""


class DoesNotFit(Exception):
    """What is wrong with a value, in words."""


def fitted(rule: SettingRule, value: SettingValue) -> SettingValue:
    """Give a value as it is kept. Raises: DoesNotFit."""
    match rule.type:
        case "bool":
            if not isinstance(value, bool):
                raise DoesNotFit("must be true or false")
            return value
        case "string":
            return _fitted_text(rule, value)
        case "int":
            if isinstance(value, bool) or not isinstance(value, int):
                raise DoesNotFit("must be a whole number")
        case "duration":
            value = _milliseconds(value)
    low = 0 if rule.minimum is None else rule.minimum
    high = INTEGER_MAX if rule.maximum is None else rule.maximum
    if not low <= value <= high:
        raise DoesNotFit(f"must be {low} to {high}")
    return value


def _fitted_text(rule: SettingRule, value: SettingValue) -> str:
    if not isinstance(value, str):
        raise DoesNotFit("must be a string")
    if len(value) > TEXT_CHARS_MAX or not value.isprintable():
        raise DoesNotFit(f"must be at most {TEXT_CHARS_MAX} printable characters")
    if rule.choices and value not in rule.choices:
        raise DoesNotFit(f"must be one of {', '.join(rule.choices)}")
    return value


def _milliseconds(value: SettingValue) -> int:
    if isinstance(value, str):
        match = _WORDS.fullmatch(value)
        if match is not None and match[2] in _UNITS_MS:
            return int(match[1]) * _UNITS_MS[match[2]]
    elif not isinstance(value, bool):
        return value
    units = ", ".join(_UNITS_MS)
    raise DoesNotFit(f"must be milliseconds, or a whole number and one of {units}")
