"""What a set of documents would do: looked at, document by document, and nothing is changed."""

from __future__ import annotations

from typing import Final

import msgspec

from felix.core.catalog import manifests
from felix.core.catalog.steps import Context
from felix.core.catalog.trial import Trial
from felix.core.catalog.validation import check_manifest
from felix.core.placement.creating import place
from felix.core.placement.fleet import Fleet, broker_row, stream_row
from felix.proto.commands import Manifest
from felix.proto.errors import FelixError
from felix.proto.manifests import ManifestFate, ManifestsApplied
from felix.proto.resources import Key, Resource, Stream

SHARDS_PLANNED_MAX: Final = 1000
"""It is worked out in the thread that commits: some 20 ms."""


def look(documents: tuple[Manifest, ...], context: Context, trial: Trial) -> ManifestsApplied:
    """Say what would come of each; one that is refused does not keep the others from being tried.

    The caller takes the trial back.
    """
    before = {place: _object(context, document) for place, document in enumerate(documents)}
    fates = [_fate(document, place, context, trial) for place, document in enumerate(documents)]
    seen = [
        msgspec.structs.replace(
            fate, before=before[place], after=_object(context, documents[place])
        )
        if fate.fate not in {"absent", "unchanged"}
        else fate
        for place, fate in enumerate(fates)
    ]
    new = [
        manifests.key_of(documents[place].wanted)
        for place, fate in enumerate(fates)
        if fate.fate == "created" and manifests.kind_of(documents[place].wanted) == "Stream"
    ]
    return _placed(tuple(seen), new, context)


def _fate(document: Manifest, place: int, context: Context, trial: Trial) -> ManifestFate:
    try:
        check_manifest(document)
        return manifests.take(document, context, trial)
    except FelixError as error:
        return ManifestFate(fate="refused", why=manifests.placed_by(error, place))


def _object(context: Context, document: Manifest) -> Resource | None:
    wanted = document.wanted
    row: Resource | None = context.store.tables[manifests.kind_of(wanted)].rows.get(
        manifests.key_of(wanted)
    )
    return row


def _placed(fates: tuple[ManifestFate, ...], new: list[Key], context: Context) -> ManifestsApplied:
    """Say where the shards of new streams would go, as far as brokers are known to be well."""
    tables, index = context.store.tables, context.placement
    chosen: list[Stream] = []
    shards = 0
    rows: dict[Key, Stream] = tables["Stream"].rows
    lasting = sorted(key for key in new if key in rows)  # its namespace may go in the same set
    for stream in (rows[key] for key in lasting):
        shards += stream.spec.shards
        if shards > SHARDS_PLANNED_MAX:
            break
        chosen.append(stream)
    brokers, bridges = tables["Broker"], tables["Bridge"]
    fleet = Fleet(
        brokers=tuple(
            broker_row(brokers.rows[key], index.copies(key[0]), index.leads(key[0]))
            for key in brokers.keys
        ),
        bridges=tuple(bridges.rows[key] for key in bridges.keys),
        moves=tuple(index.moves()),
    )
    found = place(fleet, tuple(stream_row(one, None) for one in chosen))
    return ManifestsApplied(fates, found.items, found.unmet, len(lasting) - len(chosen))
