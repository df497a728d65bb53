"""Records of manifests for the golden vectors."""

from __future__ import annotations

from typing import Any

from felix.proto import commands, manifests, queries, resources
from felix.proto.errors import NotFound
from felix.proto.rpc import AnyRequest

DOCUMENTS = (
    commands.Manifest(
        wanted=commands.CreateNamespace(
            tenant_id="acme", namespace="prod", quotas=resources.Quotas(max_streams=500)
        ),
        given=("quotas",),
        rights=("create", "update", "quotas", "delete"),
    ),
    commands.Manifest(
        wanted=commands.CreateStream(
            tenant_id="acme",
            namespace="prod",
            stream="orders",
            spec=resources.StreamSpec(shards=4, durability="durable"),
        ),
        given=("shards", "durability"),
        rights=("create",),
    ),
    commands.Manifest(
        wanted=commands.DescribeBroker(broker_id="b1", region="eu", drain=True), rights=("update",)
    ),
)


def requests() -> list[AnyRequest]:
    """The command and the query."""
    return [
        commands.ApplyManifests(documents=DOCUMENTS),
        queries.TryManifests(documents=DOCUMENTS),
    ]


def answers() -> dict[str, tuple[str, Any, int]]:
    """The answers, by name: what it is, the record, the version."""
    applied = manifests.ManifestsApplied(
        (
            manifests.ManifestFate(
                fate="created", operations=("CreateNamespace",), objects=1, version=4
            ),
            manifests.ManifestFate(fate="unchanged", version=3),
        )
    )
    refused = manifests.ManifestFate(
        fate="refused", why=NotFound("there is no broker", details={"document": 0}).to_reply()
    )
    return {
        "manifests-applied": ("the answer to ApplyManifests", applied, 4),
        "manifests-tried": (
            "the answer to TryManifests",
            manifests.ManifestsApplied((refused,), not_planned=1),
            4,
        ),
    }
