"""What goes into a token that asked for less (contract, section 8.6)."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from felix.core.auth.narrowing import HINTS_MAX, narrow
from felix.core.auth.objects import overlap
from felix.core.auth.rbac import implied
from felix.proto.errors import ValidationFailed
from felix.proto.permissions import ACTIONS, Object, Permission, read_object, read_permission

GRANTED = (
    "stream.publish:stream:acme/billing/*",
    "stream.subscribe:stream:acme/billing/*",
    "cache.read:cache:acme/billing/rates",
)
ADMIN = (
    "tenant.manage:tenant:acme",
    "ns.manage:namespace:acme/*",
    "rbac.view:tenant:acme",
    "stream.publish:stream:acme/*/*",
    "cache.read:cache:acme/*/*",
)


def permissions(texts: tuple[str, ...]) -> tuple[Permission, ...]:
    found = tuple(read_permission(text) for text in texts)
    assert None not in found
    return found  # type: ignore[return-value]  # none of them is None


def narrowed(
    held: tuple[str, ...],
    requested: tuple[str, ...] | None = None,
    resources: tuple[str, ...] | None = None,
) -> list[str]:
    return [str(one) for one in narrow(permissions(held), requested, resources)]


def test_without_a_wish_everything_is_kept() -> None:
    assert narrowed(GRANTED) == sorted(GRANTED)


def test_only_requested_actions_are_kept() -> None:
    assert narrowed(GRANTED, ("stream.publish",)) == [GRANTED[0]]
    assert narrowed(GRANTED, ("stream.publish", "ns.manage", "no.action")) == [GRANTED[0]]


def test_an_empty_wish_keeps_nothing() -> None:
    assert narrowed(GRANTED, ()) == narrowed(GRANTED, None, ()) == narrowed(GRANTED, (), ()) == []


def test_a_hint_inside_a_grant_takes_its_place() -> None:
    assert narrowed(GRANTED, None, ("stream:acme/billing/invoices",)) == [
        "stream.publish:stream:acme/billing/invoices",
        "stream.subscribe:stream:acme/billing/invoices",
    ]


@pytest.mark.parametrize("hint", ["cache:acme/billing/*", "cache:acme/*/*"])
def test_a_grant_inside_a_hint_is_kept_as_it_is(hint: str) -> None:
    assert narrowed(GRANTED, None, (hint,)) == [GRANTED[2]]


@pytest.mark.parametrize("hint", ["namespace:acme/billing", "namespace:acme/*", "tenant:acme"])
def test_a_namespace_or_tenant_asks_for_all_that_is_inside(hint: str) -> None:
    assert narrowed(GRANTED, None, (hint,)) == sorted(GRANTED)


def test_a_namespace_narrows_what_is_granted_on_all_of_them() -> None:
    assert narrowed(ADMIN, None, ("namespace:acme/billing",)) == [
        "cache.read:cache:acme/billing/*",
        "ns.manage:namespace:acme/billing",
        "rbac.view:namespace:acme/billing",
        "stream.publish:stream:acme/billing/*",
    ]


def test_an_action_is_never_put_on_an_object_that_it_does_not_fit() -> None:
    assert narrowed(ADMIN, None, ("stream:acme/billing/orders",)) == [
        "rbac.view:stream:acme/billing/orders",
        "stream.publish:stream:acme/billing/orders",
    ]
    assert narrowed(("cluster.manage:cluster:*",), None, ("tenant:acme",)) == []


def test_the_example_of_the_specification_keeps_what_it_asks_for() -> None:
    held = ("stream.publish:stream:t1/*/*", "cache.read:cache:t1/*/*", "ns.manage:namespace:t1/*")
    requested = ("stream.publish", "stream.subscribe", "cache.read")
    resources = ("namespace:t1/payments", "stream:t1/payments/orders/*")
    assert narrowed(held, requested, resources) == [
        "cache.read:cache:t1/payments/*",
        "stream.publish:stream:t1/payments/*",
    ]
    assert narrowed(held, requested, resources[1:]) == ["stream.publish:stream:t1/payments/orders"]


@pytest.mark.parametrize(
    "hint",
    [
        "stream:beta/billing/*",
        "tenant:beta",
        "stream:acme/billing/../hr/*",
        "stream:acme/../*",
        "stream:acme/bil*/orders",
        "stream:acme/billing/ord*",
        "stream:*",
        "stream:*/*/*",
        "stream:acme/*/orders",
        "stream:acme/billing/*/*",
        "stream:acme/*/orders/*",
        "stream:acme/billing/orders/x/*",
        "queue:acme/billing/orders",
        "acme/billing/orders",
        "*",
        "",
        "stream:acme/billing/[",  # S12
        "stream:ACME/billing/orders",
    ],
)
def test_s12_nonsense_and_what_belongs_to_others_matches_nothing(hint: str) -> None:
    assert narrowed(GRANTED + ADMIN, None, (hint,)) == []


def test_many_hints_are_refused_rather_than_cut() -> None:
    hints = tuple(f"stream:acme/billing/s{number}" for number in range(HINTS_MAX + 1))
    assert len(narrowed(GRANTED, ("stream.publish",), hints[1:])) == HINTS_MAX
    with pytest.raises(ValidationFailed, match="/resources"):
        narrowed(GRANTED, None, hints)


NAMES = st.sampled_from(["a", "b"])
OBJECTS = st.one_of(
    st.builds(lambda t: f"tenant:{t}", NAMES),
    st.builds(lambda t, n: f"namespace:{t}/{n}", NAMES, st.sampled_from(["a", "b", "*"])),
    st.builds(
        lambda k, t, n, x: f"{k}:{t}/{n}/{'*' if n == '*' else x}",
        st.sampled_from(["stream", "cache"]),
        NAMES,
        st.sampled_from(["a", "b", "*"]),
        st.sampled_from(["a", "b", "*"]),
    ),
)
HINTS = st.lists(OBJECTS, max_size=HINTS_MAX)
PERMISSIONS = st.lists(
    st.builds(
        lambda action, text: read_permission(f"{action}:{text}"),
        st.sampled_from(sorted(ACTIONS)),
        OBJECTS,
    )
)
ATOMS = [
    Object(kind, names)  # type: ignore[arg-type]  # one of the four kinds
    for kind, count in (("tenant", 1), ("namespace", 2), ("stream", 3), ("cache", 3))
    for names in (
        [(t,) for t in "abc"]
        if count == 1
        else [(t, n) for t in "abc" for n in "abc"]
        if count == 2
        else [(t, n, x) for t in "abc" for n in "abc" for x in "abc"]
    )
]
"""`c` is named nowhere: only a wildcard stands for it."""


def atoms(one: Object) -> set[Object]:
    return {atom for atom in ATOMS if one.contains(atom)}


@settings(deadline=None, max_examples=300)
@given(OBJECTS, OBJECTS)
def test_an_overlap_is_exactly_what_is_inside_both(one: str, other: str) -> None:
    left, right = read_object(one), read_object(other)
    assert left is not None
    assert right is not None
    common = overlap(left, right)
    inside = set() if common is None else atoms(common)
    assert inside == atoms(left) & atoms(right)
    assert overlap(right, left) == common


@settings(deadline=None, max_examples=300)
@example(
    held=[Permission("rbac.view", Object("tenant", ("b",)))],
    requested=None,
    resources=["namespace:b/a", "stream:b/*/*"],  # neither is inside the other
)
@given(PERMISSIONS, st.none() | st.lists(st.sampled_from(sorted(ACTIONS)), max_size=20), HINTS)
def test_nothing_is_ever_wider_than_asked_and_granted(
    held: list[Permission], requested: list[str] | None, resources: list[str]
) -> None:
    wanted = None if requested is None else tuple(requested)
    kept = narrow(held, wanted, tuple(resources))
    hints = [found for found in map(read_object, resources) if found is not None]
    for one in kept:
        assert wanted is None or one.action in wanted
        assert any(hint.contains(one.object) for hint in hints)
        assert any(
            grant.action == one.action and grant.object.contains(one.object) for grant in held
        )
    assert narrow(kept, wanted, tuple(resources)) == kept


@settings(deadline=None, max_examples=300)
@given(PERMISSIONS, HINTS)
def test_everything_both_asked_and_granted_on_its_own_kind_is_kept(
    held: list[Permission], resources: list[str]
) -> None:
    kept = narrow(held, None, tuple(resources))
    for grant in held:
        for hint in map(read_object, resources):
            assert hint is not None
            own = {
                one for one in atoms(grant.object) & atoms(hint) if one.kind == grant.object.kind
            }
            for atom in own:
                assert any(one.action == grant.action and one.object.contains(atom) for one in kept)


def test_a_narrowed_grant_implies_nothing_outside_it() -> None:
    (kept,) = narrow(
        permissions(("ns.manage:namespace:acme/*",)), None, ("namespace:acme/billing",)
    )
    assert all(kept.object.contains(more.object) for more in implied(kept))
