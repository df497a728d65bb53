"""Sets of documents: applied and deleted as one, or only looked at."""

from __future__ import annotations

from typing import Final

import falcon

from felix.http.desk import Desk, answer, flag_of
from felix.http.manifest_bodies import UnreadSet
from felix.http.manifest_reading import KINDS, DeletionRules, Read, placed_at, read_document
from felix.http.manifest_views import (
    FateView,
    ManifestsView,
    PlannedShard,
    PlannedStream,
    ProblemView,
    UnmetShard,
    changes_between,
)
from felix.http.strict_json import read_object
from felix.identity.caller import Caller
from felix.proto.commands import ApplyManifests
from felix.proto.errors import FelixError, Forbidden, TooLarge, from_reply
from felix.proto.manifests import DOCUMENTS_MAX, ManifestFate, ManifestsApplied
from felix.proto.queries import TryManifests

SET_BYTES_MAX: Final = 512 << 10
"""A set is one entry of the log."""
_SPELLED: Final = {
    "max_age_seconds": "time",
    "max_size_bytes": "size",
    "max_storage_bytes": "max_storage",
    "rotation_period_seconds": "rotation_period",
    "encryption_key_id": "encryption/key_id",
}


class AppliedManifests:
    """/v1/manifests/apply"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Make and change objects, all or none; a dry run says what would become of each."""
        _carry_out(self._desk, req, resp, None)


class DeletedManifests:
    """/v1/manifests/delete"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Delete the objects of documents, all or none; what they say of them does not matter."""
        settings = self._desk.settings
        is_confirmed = flag_of(req, "confirm_durable")
        rules = DeletionRules(
            refuse_durable=settings.confirm_durable_deletes and not is_confirmed,
            grace_ms=settings.delete_grace_s * 1000,
        )
        _carry_out(self._desk, req, resp, rules)


def _carry_out(
    desk: Desk, req: falcon.Request, resp: falcon.Response, deletion: DeletionRules | None
) -> None:
    settings, caller = desk.settings, req.context.caller
    if not caller.permissions:
        raise Forbidden("this needs a permission on an object that a document is about")
    body = read_object(
        req,
        UnreadSet,
        bytes_max=min(SET_BYTES_MAX, settings.body_bytes_max),
        depth_max=settings.body_depth_max,
    )
    if len(body.documents) > DOCUMENTS_MAX:
        raise TooLarge(
            f"the set has {len(body.documents)} documents, at most {DOCUMENTS_MAX} are taken: "
            "apply it in parts"
        )
    found = [_read(one, place, caller, deletion) for place, one in enumerate(body.documents)]
    order = sorted(range(len(found)), key=lambda place: KINDS.index(found[place].kind))
    if deletion is not None:
        order.reverse()
    manifests = tuple(found[place].manifest for place in order)
    is_trial = flag_of(req, "dry_run")
    message = (TryManifests if is_trial else ApplyManifests)(documents=manifests)
    try:
        applied = desk.ask(req, resp, message, ManifestsApplied)
    except FelixError as error:
        raise _as_sent(error, found, order) from error
    answer(resp, _view(applied, found, order, caller, is_trial=is_trial))


def _read(document: object, place: int, caller: Caller, deletion: DeletionRules | None) -> Read:
    try:
        return read_document(document, caller, deletion)
    except FelixError as error:
        raise placed_at(error, place) from error


def _as_sent(error: FelixError, found: list[Read], order: list[int]) -> FelixError:
    """Say of which document an error is, and of which member, as the request has them."""
    details = dict(error.details)
    place = details.get("document")
    if not isinstance(place, int):
        return error
    details["document"] = place = order[place]
    if isinstance(details.get("first"), int):
        details["first"] = order[int(details["first"])]
    message, pointer = error.message, details.get("pointer")
    if isinstance(pointer, str):
        details["pointer"] = spelled = _spelled(found[place].kind, pointer)
        message = message.replace(pointer, spelled, 1)
    return type(error)(message, retry_after_ms=error.retry_after_ms, details=details)


def _spelled(kind: str, pointer: str) -> str:
    """Write the pointer to a member of a command as one into a document."""
    steps = [_SPELLED.get(step, step) for step in pointer.removeprefix("/spec").split("/")[1:]]
    name = {"tenant_id": "tenant", "namespace": "namespace"}.get(steps[0])
    if name == kind.lower() or steps[0] in {"stream", "cache", "broker_id", "name"}:
        return "/metadata/name"
    return f"/metadata/{name}" if name else "/spec/" + "/".join(steps)


def _view(
    applied: ManifestsApplied,
    found: list[Read],
    order: list[int],
    caller: Caller,
    *,
    is_trial: bool,
) -> ManifestsView:
    fates = dict(zip(order, applied.documents, strict=True))
    shows_brokers = caller.sees_all
    return ManifestsView(
        dry_run=is_trial,
        documents=[_fate(place, fates[place], found, order) for place in range(len(found))],
        placements=[
            PlannedStream(
                "/".join(one.stream.key),
                [
                    PlannedShard(shard.shard_id, shard.leader, list(shard.replicas))
                    for shard in one.placements
                ],
            )
            for one in applied.placements
            if shows_brokers
        ],
        unmet=[
            UnmetShard(
                "/".join(one.stream.key),
                one.shard_id,
                one.why if shows_brokers else "there are not enough brokers for it",
            )
            for one in applied.unmet
        ],
        not_planned=applied.not_planned,
    )


def _fate(place: int, fate: ManifestFate, found: list[Read], order: list[int]) -> FateView:
    problem = None
    if fate.why is not None:
        error = _as_sent(from_reply(fate.why), found, order)
        problem = ProblemView(fate.why.code, error.message, error.details)
    is_trial = fate.before is not None or fate.after is not None
    return FateView(
        document=place,
        kind=found[place].kind,
        name=found[place].name,
        result=fate.fate,
        operations=list(fate.operations),
        objects=fate.objects,
        version=0 if is_trial else fate.version,
        changes=[] if fate.fate == "refused" else changes_between(fate.before, fate.after),
        error=problem,
    )
