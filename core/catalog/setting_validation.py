"""What commands about settings and flags must look like before they may be proposed."""

from __future__ import annotations

from typing import Final

from felix.proto.command import Command
from felix.proto.errors import NotFound, ValidationFailed
from felix.proto.names import why_not_a_name
from felix.proto.setting_commands import (
    DeleteFeatureFlag,
    DeleteSetting,
    PutFeatureFlag,
    PutSetting,
)
from felix.proto.settings import (
    INTEGER_MAX,
    OF_BROKERS,
    OWN,
    TEXT_CHARS_MAX,
    DoesNotFit,
    SettingRule,
    SettingValue,
    fitted,
)

CHOICES_MAX: Final = 64


def check_settings(command: Command) -> None:
    """Check every value of such a command.

    Raises: ValidationFailed with the member's pointer; NotFound for a setting that nobody knows.
    """
    match command:
        case PutSetting():
            _check_name(command.name)
            _check_setting(command)
        case PutFeatureFlag():
            _check_name(command.name)
            if command.description is not None:
                _check_description(command.description)
        case DeleteSetting() | DeleteFeatureFlag():
            _check_name(command.name)


def _check_setting(command: PutSetting) -> None:
    name, rule, own = command.name, command.rule, OWN.get(command.name)
    if own is None and not name.startswith(OF_BROKERS):
        raise NotFound(
            f"there is no setting {name!r}: there are {', '.join(OWN)}, and those of brokers, "
            f"whose names begin with {OF_BROKERS!r}"
        )
    if rule is not None:
        if own is not None:
            raise _failed("/type", f"that of {name!r} is fixed: give its value alone")
        _check_rule(rule)
    whole = own or rule
    if whole is not None:
        _check_value(whole, command.value)
    elif isinstance(command.value, str):
        _check_text("/value", command.value)
    elif not -INTEGER_MAX <= command.value <= INTEGER_MAX:
        raise _failed("/value", "must be below 2^63")


def _check_value(rule: SettingRule, value: SettingValue) -> None:
    try:
        fitted(rule, value)
    except DoesNotFit as error:
        raise _failed("/value", str(error)) from error


def _check_rule(rule: SettingRule) -> None:
    _check_description(rule.description)
    is_number = rule.type in {"int", "duration"}
    for member in ("minimum", "maximum"):
        bound: int | None = getattr(rule, member)
        if bound is not None and not is_number:
            raise _failed(f"/{member}", "is for whole numbers and durations")
        if bound is not None and not -INTEGER_MAX <= bound <= INTEGER_MAX:
            raise _failed(f"/{member}", "must be below 2^63")
    if rule.maximum is not None and rule.maximum < (rule.minimum or 0):
        raise _failed("/maximum", "must not be below the minimum, which is 0 if it is not given")
    if rule.choices and rule.type != "string":
        raise _failed("/choices", "are for strings")
    if len(rule.choices) > CHOICES_MAX:
        raise _failed("/choices", f"must have at most {CHOICES_MAX} items")
    for number, choice in enumerate(rule.choices):
        _check_text(f"/choices/{number}", choice)


def _check_name(name: str) -> None:
    why = why_not_a_name(name)
    if why:
        raise _failed("/name", why)


def _check_description(text: str) -> None:
    if not text:
        raise _failed("/description", "must not be empty: say what it is for")
    _check_text("/description", text)


def _check_text(pointer: str, text: str) -> None:
    if len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise _failed(pointer, f"must be at most {TEXT_CHARS_MAX} printable characters")


def _failed(pointer: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {why}", details={"pointer": pointer})
