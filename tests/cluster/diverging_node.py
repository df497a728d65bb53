"""`python -m tests.cluster.diverging_node serve ...`: a node whose memory goes wrong, once.

The first tenant named `flip` that it applies gets another description than everywhere else, as if a
bit had flipped.
"""

from __future__ import annotations

import msgspec

from felix.cli.server import main
from felix.core.catalog.catalog import Catalog
from felix.core.catalog.steps import Step
from felix.proto.resources import Tenant
from felix.proto.updates import RawUpdate

_take = Catalog._take
_flipped: list[int] = []


def _take_wrongly(catalog: Catalog, step: Step) -> RawUpdate:
    after = step.after
    if isinstance(after, Tenant) and after.tenant_id == "flip" and not _flipped:
        _flipped.append(after.version)
        wrong = msgspec.structs.replace(after, description="a bit has flipped")
        step = msgspec.structs.replace(step, after=wrong)
    return _take(catalog, step)


if __name__ == "__main__":
    Catalog._take = _take_wrongly  # type: ignore[method-assign, assignment]  # the fault of this program
    main()
