"""Settings of the whole cluster and feature flags: what commands do to them, and who asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from felix.core.catalog.draft import Draft
from felix.core.catalog.glob import matcher
from felix.core.catalog.paging import key_of, size_of, token_of
from felix.core.catalog.steps import Context, Outcome
from felix.core.catalog.store import Store
from felix.proto.command import Command, Conditional
from felix.proto.errors import Conflict, NotFound, PreconditionFailed, TooLarge
from felix.proto.queries import GetFeatureFlag, GetSetting, ListFeatureFlags, Listing, ListSettings
from felix.proto.resources import ClusterSetting, FeatureFlag, Resource
from felix.proto.setting_commands import (
    DeleteFeatureFlag,
    DeleteSetting,
    PutFeatureFlag,
    PutSetting,
)
from felix.proto.settings import OWN, DoesNotFit, SettingValue, fitted

SETTINGS_MAX: Final = 500
FLAGS_MAX: Final = 500
"""Brokers keep all of them: a bound on what each has to hold."""
_NOUNS: Final = {"ClusterSetting": "setting", "FeatureFlag": "feature flag"}


def outcome_of(command: Command, context: Context) -> Outcome:
    """Work out what becomes of a command. Raises: any FelixError."""
    return _HANDLERS[type(command)](command, context)


def integer_of(store: Store, name: str) -> int | None:
    """Give one of the control plane's own settings, a number or milliseconds; None: not set."""
    value = _value_of(store, name)
    assert value is None or isinstance(value, int)
    return value


def _value_of(store: Store, name: str) -> SettingValue | None:
    assert name in OWN
    row: ClusterSetting | None = store.tables["ClusterSetting"].rows.get((name,))
    return None if row is None else row.value


# --- commands -------------------------------------------------------------------------------------


def _put_setting(command: PutSetting, context: Context) -> Outcome:
    draft, name = Draft(context), command.name
    before: ClusterSetting | None = _before(draft, "ClusterSetting", command, name)
    said = command.rule or (None if before is None else before.rule)
    rule = OWN.get(name) or said
    if rule is None:
        raise NotFound(f"there is no setting {name!r}: give its type and description to make it")
    try:
        value = fitted(rule, command.value)
    except DoesNotFit as error:
        raise Conflict(
            f"/value: {error}, as the setting {name!r} has it",
            details={"reason": "value", "pointer": "/value"},
        ) from error
    if before is None:
        _check_number(context, "ClusterSetting", SETTINGS_MAX)
        return draft.answer(draft.put(ClusterSetting(name=name, value=value, rule=said)))
    return draft.answer(draft.put(msgspec.structs.replace(before, value=value, rule=said)))


def _put_flag(command: PutFeatureFlag, context: Context) -> Outcome:
    draft, name = Draft(context), command.name
    before: FeatureFlag | None = _before(draft, "FeatureFlag", command, name)
    if before is None:
        if command.description is None:
            raise NotFound(f"there is no feature flag {name!r}: give a description to make it")
        _check_number(context, "FeatureFlag", FLAGS_MAX)
        flag = FeatureFlag(name=name, enabled=command.enabled, description=command.description)
        return draft.answer(draft.put(flag))
    description = before.description if command.description is None else command.description
    after = msgspec.structs.replace(before, enabled=command.enabled, description=description)
    return draft.answer(draft.put(after))


def _delete_setting(command: DeleteSetting, context: Context) -> Outcome:
    return _delete("ClusterSetting", command, command.name, context)


def _delete_flag(command: DeleteFeatureFlag, context: Context) -> Outcome:
    return _delete("FeatureFlag", command, command.name, context)


def _delete(kind: str, command: Conditional, name: str, context: Context) -> Outcome:
    draft = Draft(context)
    before: Resource | None = _before(draft, kind, command, name)
    if before is None:
        raise NotFound(f"there is no {_NOUNS[kind]} {name!r} that is set")
    draft.delete(before)
    return draft.deleted()


def _before(draft: Draft, kind: str, command: Conditional, name: str) -> Any:
    """Give what is there, of the version that was expected. Raises: PreconditionFailed."""
    before = draft.get(kind, (name,))
    expected, actual = command.expected_version, 0 if before is None else before.version
    if expected not in {None, actual}:
        raise PreconditionFailed(
            f"the {_NOUNS[kind]} {name!r} was changed: read it again",
            details={"expected": expected or 0, "actual": actual},
        )
    return before


def _check_number(context: Context, kind: str, at_most: int) -> None:
    if len(context.store.tables[kind].rows) >= at_most:
        raise TooLarge(
            f"there are {at_most} {_NOUNS[kind]}s already: delete some that are not used"
        )


_HANDLERS: Final[dict[type[Command], Callable[[Any, Context], Outcome]]] = {
    PutSetting: _put_setting,
    DeleteSetting: _delete_setting,
    PutFeatureFlag: _put_flag,
    DeleteFeatureFlag: _delete_flag,
}
SETTING_COMMANDS: Final = tuple(_HANDLERS)


# --- queries --------------------------------------------------------------------------------------


def get(store: Store, query: GetSetting | GetFeatureFlag) -> Resource:
    """Answer with one. Raises: NotFound."""
    kind = "ClusterSetting" if isinstance(query, GetSetting) else "FeatureFlag"
    row: Resource | None = store.tables[kind].rows.get((query.name,))
    if row is None:
        raise NotFound(f"there is no {_NOUNS[kind]} {query.name!r} that is set")
    return row


def page(store: Store, query: ListSettings | ListFeatureFlags) -> Listing:
    """Answer with a page. Raises: ValidationFailed."""
    kind = "ClusterSetting" if isinstance(query, ListSettings) else "FeatureFlag"
    table, matches, page_size = store.tables[kind], matcher(query.filter), size_of(query)
    items: list[Resource] = []
    for key in table.keys.irange(key_of(query.page_token, 1), None, (False, True)):
        if not matches(key[0]):
            continue
        if len(items) == page_size:
            return Listing(items, token_of(items[-1].key))
        items.append(table.rows[key])
    return Listing(items)
