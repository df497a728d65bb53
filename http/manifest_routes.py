"""The routes of manifests."""

from __future__ import annotations

from typing import Final

from felix.http import manifests
from felix.http.access import Access
from felix.http.manifest_bodies import ManifestSet
from felix.http.manifest_views import ManifestsView
from felix.http.route import AWAITING, KEY, Parameter, Route

_DRY_RUN: Final = Parameter("dry_run", "change nothing, and answer what would become of each")

MANIFEST_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/v1/manifests/apply",
        resource=manifests.AppliedManifests,
        operation="apply_manifests",
        summary="Make and change the objects of documents, all or none",
        access=Access("caller"),
        request=ManifestSet,
        response=ManifestsView,
        refusals=(404, 409, 415, 422, 507),
        parameters=(_DRY_RUN, KEY, *AWAITING),
    ),
    Route(
        method="POST",
        path="/v1/manifests/delete",
        resource=manifests.DeletedManifests,
        operation="delete_manifests",
        summary="Delete the objects of documents, all or none",
        access=Access("caller"),
        request=ManifestSet,
        response=ManifestsView,
        refusals=(404, 409, 415, 422, 507),
        parameters=(
            _DRY_RUN,
            Parameter("confirm_durable", "durable streams may go too: else 409"),
            KEY,
            *AWAITING,
        ),
    ),
)
