"""What becomes of one shard when a broker goes or comes back: placements in, placements out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec

from felix.proto.brokers import Placement
from felix.proto.resources import Durability

IsUp: TypeAlias = Callable[[str], bool]
TO_BE_PLACED: Final = "it was given up and is to be placed anew, empty"


def without(shard: Placement, gone: str, durability: Durability, is_up: IsUp) -> Placement:
    """Let a broker that is down lead nothing, and be in sync only where nobody else is.

    Leadership passes to the first replica that may have it. Without one the shard waits for its
    data: for whoever is in sync; of an ephemeral stream for any copy.
    """
    if gone not in shard.copies:
        return shard
    in_sync = _less(shard.in_sync, gone) or shard.in_sync
    if shard.leader != gone:
        return shard if in_sync == shard.in_sync else _with(shard, in_sync=in_sync)
    heir = _heir(shard.replicas, in_sync, durability, is_up)
    rest = _less(shard.replicas, heir)
    if heir and heir not in in_sync:
        in_sync = (heir,)  # what it lacks is lost, and of the others nobody knows
    return _led_by(shard, heir, (*rest, gone), in_sync)


def with_back(shard: Placement, back: str, durability: Durability) -> Placement:
    """Let a broker that is up again lead what nobody else could."""
    if shard.leader or back not in shard.replicas:
        return shard
    if back not in shard.in_sync and durability == "durable":
        return shard
    in_sync = shard.in_sync if back in shard.in_sync else (back,)
    return _led_by(shard, back, _less(shard.replicas, back), in_sync)


def abandoned(shard: Placement, is_up: IsUp) -> Placement:
    """Let a live copy lead a shard without a leader, whatever it lacks; without one it starts anew.

    What is not there any more is lost.
    """
    for heir in _sorted_out(shard.replicas, shard.in_sync):
        if is_up(heir):
            return _led_by(shard, heir, _less(shard.replicas, heir), (heir,))
    return unplaced(shard)


def unplaced(shard: Placement) -> Placement:
    """Take all copies away."""
    return Placement(shard_id=shard.shard_id, generation=shard.generation + 1, reason=TO_BE_PLACED)


def forgotten(shard: Placement, gone: str, durability: Durability, is_up: IsUp) -> Placement:
    """Take away the copy on a broker that will not come back, with what only it held."""
    shard = without(shard, gone, durability, is_up)
    if gone not in shard.replicas:
        return shard
    replicas = _less(shard.replicas, gone)
    if not replicas and not shard.leader:
        return unplaced(shard)
    in_sync = _less(shard.in_sync, gone)
    if in_sync or shard.leader:
        return _with(shard, replicas=replicas, in_sync=in_sync)
    heir = next(filter(is_up, replicas), "")
    if heir:
        return _led_by(shard, heir, _less(replicas, heir), (heir,))
    # Nobody knows which of them has most. One has to be waited for, or the shard given up.
    return _led_by(shard, "", replicas, replicas[:1])


def _heir(
    replicas: tuple[str, ...], in_sync: tuple[str, ...], durability: Durability, is_up: IsUp
) -> str:
    may_lead = in_sync if durability == "durable" else replicas
    return next(
        (one for one in _sorted_out(replicas, in_sync) if one in may_lead and is_up(one)), ""
    )


def _sorted_out(replicas: Iterable[str], in_sync: tuple[str, ...]) -> list[str]:
    """Put those in sync first, and keep the order otherwise."""
    return sorted(replicas, key=lambda one: one not in in_sync)


def _led_by(
    shard: Placement, leader: str, replicas: tuple[str, ...], in_sync: tuple[str, ...]
) -> Placement:
    return Placement(
        shard_id=shard.shard_id,
        leader=leader,
        replicas=replicas,
        in_sync=in_sync,
        generation=shard.generation + 1,
        reason="" if leader else _why_waiting(in_sync),
    )


def _why_waiting(in_sync: tuple[str, ...]) -> str:
    return (
        f"its data is on {', '.join(in_sync)}, which is down: bring it back, or abandon the shard"
    )


def _less(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(one for one in names if one != name)


def _with(
    shard: Placement,
    *,
    replicas: tuple[str, ...] | None = None,
    in_sync: tuple[str, ...] | None = None,
) -> Placement:
    return msgspec.structs.replace(
        shard,
        replicas=shard.replicas if replicas is None else replicas,
        in_sync=shard.in_sync if in_sync is None else in_sync,
    )
