"""What a listing shows to whom."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from felix.core.auth.objects import overlap
from felix.core.auth.visibility import Sight, sees
from felix.proto.permissions import Object, Permission, read_object, read_permission

STREAM = "stream.publish:stream:acme/billing/orders"


@pytest.mark.parametrize(
    ("held", "shown", "hidden"),
    [
        (
            STREAM,
            ["tenant:acme", "namespace:acme/billing", "stream:acme/billing/orders"],
            [
                "tenant:beta", "namespace:acme/hr", "stream:acme/billing/other",
                "cache:acme/billing/orders", "cluster:*",
            ],
        ),
        (
            "stream.publish:stream:acme/*/*",
            ["namespace:acme/hr", "stream:acme/hr/x"],
            ["cache:acme/hr/x", "namespace:beta/hr"],
        ),
        (
            "rbac.view:namespace:acme/hr",
            ["tenant:acme", "namespace:acme/hr", "stream:acme/hr/x", "cache:acme/hr/x"],
            ["namespace:acme/billing", "stream:acme/billing/x"],
        ),
        ("rbac.view:tenant:acme", ["tenant:acme", "stream:acme/hr/x"], ["tenant:beta"]),
        ("cluster.view:cluster:*", ["tenant:beta", "stream:acme/hr/x", "cluster:*"], []),
    ],
)  # fmt: skip
def test_a_listing_shows_what_a_permission_is_on_around_or_in(
    held: str, shown: list[str], hidden: list[str]
) -> None:
    permission = read_permission(held)
    assert permission is not None
    for texts, expected in ((shown, True), (hidden, False)):
        for text in texts:
            target = read_object(text)
            assert target is not None
            assert sees([permission], target) is expected, text


def test_who_may_nothing_sees_nothing() -> None:
    assert not sees([], Object("tenant", ("acme",)))


NAMES = st.sampled_from(["a", "b"])
WILD = st.sampled_from(["a", "b", "*"])
TARGETS = st.one_of(
    st.builds(lambda t: Object("tenant", (t,)), NAMES),
    st.builds(lambda t, n: Object("namespace", (t, n)), NAMES, NAMES),
    st.builds(lambda t, n, x: Object("stream", (t, n, x)), NAMES, NAMES, NAMES),
    st.builds(lambda t, n, x: Object("cache", (t, n, x)), NAMES, NAMES, NAMES),
)
HELD = st.lists(
    st.one_of(
        st.builds(lambda t: Object("tenant", (t,)), NAMES),
        st.builds(lambda t, n: Object("namespace", (t, n)), NAMES, WILD),
        st.builds(
            lambda k, t, n, x: Object(k, (t, n, "*" if n == "*" else x)),
            st.sampled_from(["stream", "cache"]),
            NAMES,
            WILD,
            WILD,
        ),
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=300)
@given(HELD, TARGETS)
def test_something_is_seen_exactly_if_it_has_something_in_common_with_a_permission(
    objects: list[Object], target: Object
) -> None:
    sight = Sight(Permission("rbac.view", one) for one in objects)
    assert sight.sees(target) == any(overlap(one, target) is not None for one in objects)
