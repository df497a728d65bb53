"""The life of signing keys: a table, and a year of it with a clock that jumps."""

from __future__ import annotations

import random
from collections import deque

import msgspec
import pytest

from felix.core.auth.keys import (
    TRANSITIONS,
    HeldKey,
    Rotation,
    Sightings,
    duties,
    jwks_order,
    why_not_activate,
    why_not_retire,
)
from felix.proto.command import Command
from felix.proto.commands import (
    ActivateSigningKey,
    RetireSigningKey,
    StageSigningKey,
)
from felix.proto.identity import SealedKey
from felix.proto.resources import KeyState, SigningKey

S = 1_000
HOUR = 3_600 * S
DAY = 24 * HOUR
NOW = 1_800_000_000_000
ROTATION = Rotation(
    rotation_period_s=90 * 86_400,
    publish_lead_s=3_900,
    retire_after_s=1_800,
    kek_id="new",
    previous_kek_ids=("old",),
)
LEAD, RETIRE = 3_900 * S, 1_800 * S
BROKER_CACHE = HOUR
TOKEN = 900 * S
STALE = 900 * S
"""How old the keys may be with which a node that has lost the others goes on signing."""


def held(
    kid: str, state: KeyState, age_ms: int, seen_ms: int | None = None, kek_id: str = "new"
) -> HeldKey:
    return HeldKey(
        SigningKey(
            tenant_id="acme", kid=kid, public_key="", state=state, state_since_ms=NOW - age_ms
        ),
        SealedKey("acme", kid, "", kek_id, b""),
        age_ms if seen_ms is None else seen_ms,
    )


STAGE = StageSigningKey(tenant_id="acme")
ACTIVATE = ActivateSigningKey(tenant_id="acme", kid="b", lead_ms=LEAD)
GO = RetireSigningKey(tenant_id="acme", kid="a", after_ms=RETIRE)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], []),
        ([held("a", "active", 0)], []),
        ([held("a", "active", 90 * DAY - LEAD - 1)], []),
        ([held("a", "active", 90 * DAY - LEAD)], [STAGE]),
        ([held("a", "active", 90 * DAY), held("b", "published", LEAD)], [ACTIVATE]),
        ([held("a", "active", 90 * DAY - 1), held("b", "published", LEAD)], []),
        ([held("a", "active", 90 * DAY), held("b", "published", LEAD - 1)], []),
        # The wall clock says enough, and the other one that it has jumped.
        ([held("a", "active", 90 * DAY), held("b", "published", LEAD, LEAD - 1)], []),
        ([held("a", "active", 90 * DAY), held("b", "published", LEAD - 1, LEAD)], []),
        # A time in the future says nothing.
        (
            [held("a", "active", 90 * DAY), held("b", "published", -DAY, LEAD)],
            [msgspec.structs.replace(ACTIVATE, lead_ms=0)],
        ),
        ([held("a", "active", -DAY, 90 * DAY - LEAD)], [STAGE]),
        ([held("b", "active", 0), held("a", "retiring", RETIRE)], [GO]),
        ([held("b", "active", 0), held("a", "retiring", RETIRE - 1)], []),
        ([held("b", "active", 0), held("a", "retiring", RETIRE, RETIRE - 1)], []),
        (
            [held("b", "active", 0), held("a", "retiring", -DAY, RETIRE)],
            [msgspec.structs.replace(GO, after_ms=0)],
        ),
        # What should never be is mended.
        ([held("b", "published", 0)], [msgspec.structs.replace(ACTIVATE, lead_ms=0)]),
        ([held("a", "retiring", RETIRE)], [STAGE, GO]),
    ],
)
def test_every_state_of_the_keys_has_its_duties(
    keys: list[HeldKey], expected: list[Command]
) -> None:
    assert list(duties(keys, NOW, ROTATION).commands) == expected
    assert list(duties(reversed(keys), NOW, ROTATION).commands) == expected


def test_a_period_shorter_than_the_lead_rotates_as_fast_as_the_lead_allows() -> None:
    short = msgspec.structs.replace(ROTATION, rotation_period_s=60)
    assert duties([held("a", "active", 0)], NOW, short).commands == (STAGE,)
    waiting = [held("a", "active", LEAD), held("b", "published", LEAD - 1)]
    assert duties(waiting, NOW, short).commands == ()


def test_keys_of_an_old_kek_are_wrapped_anew_and_those_of_an_unknown_one_are_named() -> None:
    keys = [
        held("a", "active", 0),
        held("b", "published", 1, kek_id="old"),
        held("c", "retiring", 2, kek_id="lost"),
    ]
    found = duties(keys, NOW, ROTATION)
    assert [one.kid for one in found.rewrap] == ["b"]
    assert [one.kid for one in found.unreadable] == ["c"]


def test_the_key_that_signs_is_the_first_of_the_key_set() -> None:
    keys = [
        held("p", "published", 0),
        held("r", "retiring", 9),
        held("q", "retiring", 5),
        held("a", "active", 7),
    ]
    assert [key.kid for key in jwks_order(one.key for one in keys)] == ["a", "q", "r", "p"]


def test_a_key_goes_through_its_states_in_one_direction() -> None:
    order: list[KeyState | None] = ["published", "active", "retiring", None]
    for state, following in TRANSITIONS.items():
        assert all(order.index(one) > order.index(state) for one in following)
    for state in TRANSITIONS:
        key = held("a", state, 10).key
        assert (why_not_activate(key, NOW, 10) is None) == (state == "published")
        assert (why_not_retire(key, NOW, 10) is None) == (state != "active")
    assert why_not_activate(held("a", "published", 10).key, NOW, 11) is not None
    assert why_not_retire(held("a", "retiring", 10).key, NOW, 11) is not None
    assert why_not_activate(held("a", "published", -DAY).key, NOW, 0) is None
    assert why_not_retire(held("a", "retiring", -DAY).key, NOW, 0) is None


def test_a_key_is_seen_anew_when_its_state_changes_or_it_comes_back() -> None:
    sightings = Sightings()
    one, other = held("a", "active", 0), held("a", "retiring", 0)

    def seen(which: HeldKey, at_ms: int) -> int:
        (found,) = sightings.hold([(which.key, which.sealed)], at_ms)
        return found.seen_for_ms

    assert [seen(one, 100), seen(one, 130), seen(other, 150), seen(other, 151)] == [0, 30, 0, 1]
    assert sightings.hold([], 160) == ()
    assert seen(other, 170) == 0


class Tenant:
    """The keys of a tenant as the state machine keeps them, checked at every change."""

    def __init__(self, wall_ms: int) -> None:
        self.keys: dict[str, SigningKey] = {}
        self.published_at: dict[str, int] = {}
        self.activated: list[str] = []
        self._put("k0", "active", wall_ms)
        self.activated.append("k0")

    def _put(self, kid: str, state: KeyState, wall_ms: int) -> None:
        self.keys[kid] = SigningKey(
            tenant_id="acme", kid=kid, public_key="", state=state, state_since_ms=wall_ms
        )

    @property
    def active(self) -> str:
        (kid,) = [key.kid for key in self.keys.values() if key.state == "active"]
        return kid

    def apply(self, command: Command, wall_ms: int, real_ms: int) -> None:
        if isinstance(command, StageSigningKey):
            kid = f"k{len(self.published_at) + 1}"
            assert all(key.state != "published" for key in self.keys.values())
            self.published_at[kid] = real_ms
            self._put(kid, "published", wall_ms)
        elif isinstance(command, ActivateSigningKey):
            wrong = why_not_activate(self.keys[command.kid], wall_ms, command.lead_ms)
            assert wrong is None, wrong
            assert real_ms - self.published_at[command.kid] >= LEAD
            self._put(self.active, "retiring", wall_ms)
            self._put(command.kid, "active", wall_ms)
            self.activated.append(command.kid)
        else:
            assert isinstance(command, RetireSigningKey)
            wrong = why_not_retire(self.keys[command.kid], wall_ms, command.after_ms)
            assert wrong is None, wrong
            del self.keys[command.kid]


def live_a_year(seed: int, rotation: Rotation) -> Tenant:
    """Tick through a year; check every token against every key set that a broker may have."""
    chance = random.Random(seed)
    wall_ms, real_ms = NOW, 0
    tenant, nodes = Tenant(wall_ms), [Sightings(), Sightings(), Sightings()]
    seen_sets: deque[tuple[int, frozenset[str]]] = deque()
    signers: deque[tuple[int, str]] = deque()
    tokens: deque[tuple[int, str]] = deque()
    while real_ms < 365 * DAY:
        step_ms = chance.choice((5 * S, 60 * S, 10 * 60 * S, 20 * 60 * S))
        real_ms += step_ms
        wall_ms += step_ms
        # It jumps most where it can do harm: while a key waits for its time.
        if chance.random() < (0.002 if len(tenant.keys) == 1 else 0.05):
            wall_ms += chance.randrange(-12 * HOUR, 12 * HOUR)
        if chance.random() < 0.002:
            nodes[chance.randrange(3)] = Sightings()
        held_by = [
            node.hold([(key, SealedKey("acme", key.kid, "", "new", b"")) for key in
                       tenant.keys.values()], real_ms)
            for node in nodes
        ]  # fmt: skip
        for command in duties(chance.choice(held_by), wall_ms, rotation).commands:
            tenant.apply(command, wall_ms, real_ms)
        seen_sets.append((real_ms, frozenset(tenant.keys)))
        while len(seen_sets) > 1 and seen_sets[1][0] <= real_ms - BROKER_CACHE:
            seen_sets.popleft()
        signers.append((real_ms, tenant.active))
        while len(signers) > 1 and signers[1][0] <= real_ms - STALE:
            signers.popleft()
        # Minted just now, by the most outdated of the nodes and by the best informed one.
        tokens.extend((real_ms, kid) for kid in {signers[0][1], signers[-1][1]})
        while tokens[0][0] + TOKEN < real_ms:
            tokens.popleft()
        needed = {kid for _, kid in tokens}
        for fetched_ms, kids in seen_sets:
            assert needed <= kids, f"seed {seed}: fetched at {fetched_ms}, now {real_ms}"
    return tenant


@pytest.mark.parametrize("period_days", [7, 30, 90])
def test_for_a_year_every_token_can_be_verified_until_it_expires(period_days: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rotation = msgspec.structs.replace(ROTATION, rotation_period_s=period_days * 86_400)
    tenant = live_a_year(seed, rotation)
    turns = 365 // period_days
    assert turns * 4 // 5 <= len(tenant.activated) - 1 <= turns * 5 // 4
    assert len(tenant.keys) <= 3
