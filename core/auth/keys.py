"""The life of a signing key: published, active, retiring, gone.

A key is published before it signs, so that everyone who checks tokens has it by then, and stays
after it signed, until the last token it signed has expired (contract, section 11.6). How long that
has been is not left to the wall clock, which may jump by hours: a key must also have been seen in
its state for as long, by a clock that does not. A node that starts sees everything anew, which
delays a rotation by a little and hurts nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from felix.proto.command import Command
from felix.proto.commands import (
    ActivateSigningKey,
    RetireSigningKey,
    StageSigningKey,
)
from felix.proto.identity import SealedKey
from felix.proto.resources import KeyState, SigningKey

TRANSITIONS: Final[dict[KeyState, tuple[KeyState | None, ...]]] = {
    "published": ("active", None),
    "active": ("retiring",),
    "retiring": (None,),
}
"""What may follow a state; None: the key is deleted. A revoked key is deleted from any."""

IN_JWKS_ORDER: Final[tuple[KeyState, ...]] = ("active", "retiring", "published")


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """When keys are replaced, and what protects them."""

    rotation_period_s: int
    publish_lead_s: int
    retire_after_s: int
    """At least for how long a token lives, and a node that has lost the others goes on signing."""
    kek_id: str
    """With what keys are encrypted now."""
    previous_kek_ids: tuple[str, ...] = ()
    """With what they can be decrypted besides."""


class HeldKey(msgspec.Struct, frozen=True):
    """A signing key as a node has it."""

    key: SigningKey
    sealed: SealedKey
    seen_for_ms: int
    """For how long this node has seen it in its state; see `Sightings`."""


class Duties(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done about the keys of a tenant now."""

    commands: tuple[Command, ...] = ()
    rewrap: tuple[SealedKey, ...] = ()
    """They are encrypted with a key-encryption key that is on its way out."""
    unreadable: tuple[SealedKey, ...] = ()
    """They are encrypted with one that is not known: nobody can sign with them."""


class Sightings:
    """For how long a node has seen each key in its state, by a clock that only ever goes on."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str, KeyState], int] = {}

    def hold(
        self, items: Iterable[tuple[SigningKey, SealedKey]], monotonic_ms: int
    ) -> tuple[HeldKey, ...]:
        """Take note of all keys that there are now; forget those that are not any more."""
        held = []
        since = {}
        for key, sealed in items:
            place = (key.tenant_id, key.kid, key.state)
            since[place] = self._since.get(place, monotonic_ms)
            held.append(HeldKey(key, sealed, monotonic_ms - since[place]))
        self._since = since
        return tuple(held)


def duties(keys: Iterable[HeldKey], now_ms: int, rotation: Rotation) -> Duties:
    """Say what is to be done about the keys of one tenant.

    `now_ms` is Unix milliseconds by the wall clock of whoever will propose the commands. Doing
    nothing, doing it late and doing it twice are all harmless.
    """
    keys = sorted(keys, key=lambda held: (held.key.state_since_ms, held.key.kid))
    known = {rotation.kek_id, *rotation.previous_kek_ids}
    sealed = [held.sealed for held in keys]
    return Duties(
        commands=(*_succession(keys, now_ms, rotation), *_retirements(keys, now_ms, rotation)),
        rewrap=tuple(one for one in sealed if one.kek_id in known - {rotation.kek_id}),
        unreadable=tuple(one for one in sealed if one.kek_id not in known),
    )


def jwks_order(keys: Iterable[SigningKey]) -> tuple[SigningKey, ...]:
    """Put the keys of a tenant in the order of its JWKS: the one that signs comes first."""
    return tuple(
        sorted(keys, key=lambda key: (IN_JWKS_ORDER.index(key.state), -key.state_since_ms, key.kid))
    )


def why_not_activate(key: SigningKey, now_ms: int, lead_ms: int) -> str | None:
    """Say why a key cannot sign from now on, or None when it can.

    With a lead of 0 it does not matter when it was published, nor whether a clock says that it has
    not been yet.
    """
    if "active" not in TRANSITIONS[key.state]:
        return f"it is {key.state}"
    if lead_ms and now_ms - key.state_since_ms < lead_ms:
        return f"it has not been published for {lead_ms} ms"
    return None


def why_not_retire(key: SigningKey, now_ms: int, after_ms: int) -> str | None:
    """Say why a key cannot go, but by being revoked; or None when it can. 0 is as for a lead."""
    if None not in TRANSITIONS[key.state]:
        return f"it is {key.state}"
    is_early = after_ms > 0 and now_ms - key.state_since_ms < after_ms
    if key.state == "retiring" and is_early:
        return f"it has not been retiring for {after_ms} ms"
    return None


def _succession(keys: list[HeldKey], now_ms: int, rotation: Rotation) -> tuple[Command, ...]:
    if not keys:
        return ()
    lead_ms = rotation.publish_lead_s * 1000
    period_ms = rotation.rotation_period_s * 1000
    active = next((held for held in keys if held.key.state == "active"), None)
    heir = next((held for held in keys if held.key.state == "published"), None)
    if heir is None:
        is_time = active is None or _age_ms(active, now_ms) + lead_ms >= period_ms
        return (StageSigningKey(tenant_id=keys[0].key.tenant_id),) if is_time else ()
    if active is None:
        # It cannot be worse than a tenant that cannot sign.
        return (_activate(heir, 0),)
    if _age_ms(active, now_ms) < period_ms or not _is_past(heir, now_ms, lead_ms):
        return ()
    return (_activate(heir, lead_ms if _is_told_by_clock(heir, now_ms) else 0),)


def _retirements(keys: list[HeldKey], now_ms: int, rotation: Rotation) -> tuple[Command, ...]:
    after_ms = rotation.retire_after_s * 1000
    return tuple(
        RetireSigningKey(
            tenant_id=held.key.tenant_id,
            kid=held.key.kid,
            after_ms=after_ms if _is_told_by_clock(held, now_ms) else 0,
        )
        for held in keys
        if held.key.state == "retiring" and _is_past(held, now_ms, after_ms)
    )


def _activate(held: HeldKey, lead_ms: int) -> ActivateSigningKey:
    return ActivateSigningKey(tenant_id=held.key.tenant_id, kid=held.key.kid, lead_ms=lead_ms)


def _age_ms(held: HeldKey, now_ms: int) -> int:
    """Give the age of a key by whichever clock says more: to be replaced early hurts nobody."""
    return max(now_ms - held.key.state_since_ms, held.seen_for_ms)


def _is_told_by_clock(held: HeldKey, now_ms: int) -> bool:
    """Tell whether the wall clock has anything to say: of a time ahead of it, it has not."""
    return held.key.state_since_ms <= now_ms


def _is_past(held: HeldKey, now_ms: int, wait_ms: int) -> bool:
    """Tell whether a key has been in its state for so long, by both clocks."""
    if held.seen_for_ms < wait_ms:
        return False
    return not _is_told_by_clock(held, now_ms) or now_ms - held.key.state_since_ms >= wait_ms
