"""What of a principal's permissions goes into a token that asked for less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from felix.core.auth.objects import overlap
from felix.proto.errors import ValidationFailed
from felix.proto.permissions import Object, Permission, read_object

HINTS_MAX: Final = 64
"""In one request."""


def narrow(
    permissions: Iterable[Permission],
    requested: tuple[str, ...] | None,
    resources: tuple[str, ...] | None,
) -> tuple[Permission, ...]:
    """Keep what was asked for: never more than is asked and granted, in the order of the text.

    `requested` are actions and `resources` objects, None: all. An empty list asks for nothing. A
    word that is no action, and a hint that is no object, match nothing (contract, section 8.6, with
    its "better": the smaller of hint and grant is kept).

    A `namespace:` hint asks for all that is inside the namespace. In the existing service it keeps
    permissions on namespaces only; but the specification's own example asks for a namespace
    together with publishing, subscribing and reading a cache, which would then keep nothing at
    all. A grant on all namespaces is narrowed to that one. In the same example,
    `stream:t1/payments/orders/*` means what is beneath the stream, and so the stream.

    Raises: ValidationFailed for more than `HINTS_MAX` hints.
    """
    hints = None if resources is None else _read(resources)
    found: dict[str, Permission] = {}
    for one in permissions:
        if requested is None or one.action in requested:
            for kept in (one,) if hints is None else _inside(one, hints):
                found[str(kept)] = kept
    return tuple([found[text] for text in sorted(found)])


def _read(resources: tuple[str, ...]) -> tuple[Object, ...]:
    if len(resources) > HINTS_MAX:
        raise ValidationFailed(
            f"/resources: must have at most {HINTS_MAX} hints", details={"pointer": "/resources"}
        )
    hints = [hint for hint in map(_read_hint, dict.fromkeys(resources)) if hint is not None]
    # A hint inside another one asks for nothing more, and would make the token longer.
    return tuple(
        hint
        for hint in dict.fromkeys(hints)
        if not any(other != hint and other.contains(hint) for other in hints)
    )


def _read_hint(text: str) -> Object | None:
    kind, _, rest = text.partition(":")
    if kind in {"stream", "cache"} and rest.count("/") == 3 and rest.endswith("/*"):
        beneath = read_object(text.removesuffix("/*"))
        return None if beneath is None or "*" in beneath.names else beneath
    return read_object(text)


def _inside(permission: Permission, hints: tuple[Object, ...]) -> Iterator[Permission]:
    for hint in hints:
        common = overlap(permission.object, hint)
        if common is not None and _fits(permission, common):
            yield Permission(permission.action, common)


def _fits(permission: Permission, smaller: Object) -> bool:
    """Tell whether the action is one on the smaller object: `ns.manage` is none on a stream.

    What it implies there stands among the permissions by itself.
    """
    return smaller.kind == permission.object.kind or permission.action.startswith("rbac.")
