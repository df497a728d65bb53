"""Settings of the whole cluster and feature flags (seed, "RAFT Scope")."""

from __future__ import annotations

import falcon
import msgspec

from felix.http.desk import Desk, answer, expected_version_of, page_size_of, text_of
from felix.http.setting_views import (
    FeatureFlagPage,
    SettingPage,
    feature_flag_view,
    setting_view,
    unset_view,
)
from felix.http.strict_json import unprocessable
from felix.proto.commands import Deleted
from felix.proto.errors import NotFound
from felix.proto.queries import GetFeatureFlag, GetSetting, ListFeatureFlags, ListSettings
from felix.proto.resources import ClusterSetting, FeatureFlag
from felix.proto.setting_commands import (
    DeleteFeatureFlag,
    DeleteSetting,
    PutFeatureFlag,
    PutSetting,
)
from felix.proto.settings import OWN, SettingRule, SettingType, SettingValue


class SettingBody(msgspec.Struct, frozen=True):
    """PUT of a setting; all but the value is of those under `broker.`, and of new ones needed."""

    value: SettingValue
    """A duration: milliseconds, or `90s`, `5m`."""
    type: SettingType | None = None
    description: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    choices: list[str] | None = None


class FeatureFlagBody(msgspec.Struct, frozen=True):
    """PUT of a feature flag."""

    enabled: bool
    description: str | None = None
    """Of a new one it is needed."""


class Settings:
    """/v1/config"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List all there are, set or not; they are few."""
        listing = self._desk.list(req, resp, ListSettings(), seen=None)
        found = {name: unset_view(name) for name in OWN}
        found |= {
            one.name: setting_view(one) for one in listing.items if isinstance(one, ClusterSetting)
        }
        answer(resp, SettingPage([found[name] for name in sorted(found)]))

    on_head = on_get


class OneSetting:
    """/v1/config/{setting}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, setting: str) -> None:
        """Read; one of the control plane's own is there even if it is not set."""
        try:
            found = self._desk.ask(req, resp, GetSetting(name=setting), ClusterSetting)
        except NotFound:
            if setting not in OWN:
                raise
            answer(resp, unset_view(setting))
        else:
            answer(resp, setting_view(found), version=found.version)

    on_head = on_get

    def on_put(self, req: falcon.Request, resp: falcon.Response, setting: str) -> None:
        """Set it; with a rule, make or change it too."""
        body = self._desk.read(req, SettingBody)
        command = PutSetting(
            name=setting,
            value=body.value,
            rule=_rule(body),
            expected_version=expected_version_of(req),
        )
        made = self._desk.ask(req, resp, command, ClusterSetting)
        answer(resp, setting_view(made), version=made.version)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, setting: str) -> None:
        """Set it no longer."""
        command = DeleteSetting(name=setting, expected_version=expected_version_of(req))
        self._desk.ask(req, resp, command, Deleted)
        resp.status = 204


class FeatureFlags:
    """/v1/feature-flags"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List."""
        query = ListFeatureFlags(
            filter=text_of(req, "filter"),
            page_size=page_size_of(req),
            page_token=text_of(req, "page_token"),
        )
        listing = self._desk.list(req, resp, query, seen=None)
        items = [feature_flag_view(one) for one in listing.items if isinstance(one, FeatureFlag)]
        answer(resp, FeatureFlagPage(items, listing.next_page_token))

    on_head = on_get


class OneFeatureFlag:
    """/v1/feature-flags/{flag}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response, flag: str) -> None:
        """Read."""
        found = self._desk.ask(req, resp, GetFeatureFlag(name=flag), FeatureFlag)
        answer(resp, feature_flag_view(found), version=found.version)

    on_head = on_get

    def on_put(self, req: falcon.Request, resp: falcon.Response, flag: str) -> None:
        """Switch it; with a description, make it if it is not there."""
        body = self._desk.read(req, FeatureFlagBody)
        command = PutFeatureFlag(
            name=flag,
            enabled=body.enabled,
            description=body.description,
            expected_version=expected_version_of(req),
        )
        made = self._desk.ask(req, resp, command, FeatureFlag)
        answer(resp, feature_flag_view(made), version=made.version)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, flag: str) -> None:
        """Forget it: brokers go by what they do by default."""
        command = DeleteFeatureFlag(name=flag, expected_version=expected_version_of(req))
        self._desk.ask(req, resp, command, Deleted)
        resp.status = 204


def _rule(body: SettingBody) -> SettingRule | None:
    """Gather the rule that a body gives; None: none. Raises: Unprocessable where it is half one."""
    said = (body.type, body.description, body.minimum, body.maximum, body.choices)
    if all(member is None for member in said):
        return None
    if body.type is None:
        raise unprocessable("/type", "is required with what else is said of the setting")
    if body.description is None:
        raise unprocessable("/description", "is required with a type")
    return SettingRule(
        type=body.type,
        description=body.description,
        minimum=body.minimum,
        maximum=body.maximum,
        choices=tuple(dict.fromkeys(body.choices or ())),
    )
