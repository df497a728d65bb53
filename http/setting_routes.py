"""The routes of settings and feature flags."""

from __future__ import annotations

from typing import Final

from felix.http import cluster_settings, setting_views
from felix.http.access import CLUSTER_MANAGE, CLUSTER_VIEW
from felix.http.route import AWAITING, CONSISTENCY, PAGING, PRECONDITION, Route

_SETTING: Final = "/v1/config/{setting}"
_FLAG: Final = "/v1/feature-flags/{flag}"

SETTING_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/config",
        resource=cluster_settings.Settings,
        operation="list_settings",
        summary="List all settings of the cluster, set or not",
        access=CLUSTER_VIEW,
        response=setting_views.SettingPage,
        parameters=(CONSISTENCY,),
    ),
    Route(
        method="GET",
        path=_SETTING,
        resource=cluster_settings.OneSetting,
        operation="get_setting",
        summary="Read one setting of the cluster",
        access=CLUSTER_VIEW,
        response=setting_views.SettingView,
        refusals=(404,),
        parameters=(CONSISTENCY,),
    ),
    Route(
        method="PUT",
        path=_SETTING,
        resource=cluster_settings.OneSetting,
        operation="put_setting",
        summary="Set a setting of the cluster; one of brokers is made by giving its type too",
        access=CLUSTER_MANAGE,
        request=cluster_settings.SettingBody,
        response=setting_views.SettingView,
        refusals=(404, 409, 412, 413, 415, 422, 507),
        parameters=(*PRECONDITION, *AWAITING),
    ),
    Route(
        method="DELETE",
        path=_SETTING,
        resource=cluster_settings.OneSetting,
        operation="delete_setting",
        summary="Set a setting no longer: what each process has by itself holds again",
        access=CLUSTER_MANAGE,
        status=204,
        refusals=(404, 412, 422),
        parameters=(*PRECONDITION, *AWAITING),
    ),
    Route(
        method="GET",
        path="/v1/feature-flags",
        resource=cluster_settings.FeatureFlags,
        operation="list_feature_flags",
        summary="List the feature flags of brokers",
        access=CLUSTER_VIEW,
        response=setting_views.FeatureFlagPage,
        parameters=PAGING,
    ),
    Route(
        method="GET",
        path=_FLAG,
        resource=cluster_settings.OneFeatureFlag,
        operation="get_feature_flag",
        summary="Read one feature flag",
        access=CLUSTER_VIEW,
        response=setting_views.FeatureFlagView,
        refusals=(404,),
        parameters=(CONSISTENCY,),
    ),
    Route(
        method="PUT",
        path=_FLAG,
        resource=cluster_settings.OneFeatureFlag,
        operation="put_feature_flag",
        summary="Switch a feature of brokers; a new flag is made by giving its description too",
        access=CLUSTER_MANAGE,
        request=cluster_settings.FeatureFlagBody,
        response=setting_views.FeatureFlagView,
        refusals=(404, 412, 415, 422, 507),
        parameters=(*PRECONDITION, *AWAITING),
    ),
    Route(
        method="DELETE",
        path=_FLAG,
        resource=cluster_settings.OneFeatureFlag,
        operation="delete_feature_flag",
        summary="Forget a feature flag: brokers go by what they do by default",
        access=CLUSTER_MANAGE,
        status=204,
        refusals=(404, 412, 422),
        parameters=(*PRECONDITION, *AWAITING),
    ),
)
