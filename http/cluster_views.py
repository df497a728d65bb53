"""What clients get to see of the cluster itself."""

from __future__ import annotations

import msgspec

from felix.proto.queries import ClusterStatus, MemberRole


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """One node; `match_index`, `lag` and `active` are known to the leader only."""

    id: str
    name: str
    role: MemberRole
    voter: bool
    leaving: bool
    """A voter of the old half of a change that is under way."""
    replaces: str | None
    """Of a learner: the voter that leaves when it is promoted."""
    level: int
    """The feature level of the build it runs."""
    addresses: dict[str, str]
    match_index: int | None
    lag: int | None
    active: bool | None


class CommitWindowView(msgspec.Struct, frozen=True, kw_only=True):
    """How long the commits of a stretch of time took."""

    commits: int
    p50_us: int
    """Estimated from buckets, as is `p99_us`."""
    p99_us: int
    max_us: int


class ClusterView(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster as the answering node sees it."""

    cluster_id: str
    node_id: str
    leader_id: str | None
    term: int
    commit_index: int
    applied_index: int
    version: int
    epoch: int
    digest: str
    members: list[MemberView]
    change_under_way: bool
    """A membership change is not committed yet, or only its first half is."""
    feature_level: int
    """In force in the whole cluster."""
    removed: list[str]
    """Identities of the last members that left."""
    alarms: list[str]
    """What an operator should look at, in words."""
    commit_window_s: int = 0
    """Length of a window; 0: that node is of a build that does not say."""
    commit_windows: list[CommitWindowView] = []
    """Of what was proposed at the answering node while it led, the oldest first; the last one is
    not over."""


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/system/node: what a node says of itself to whoever asks."""

    cluster_id: str
    node_id: str
    name: str
    level: int
    """The feature level of the build it runs."""
    addresses: dict[str, str] | None
    """Where it listens; null once a cluster has taken it in: its members may be asked then, by whom
    they know."""


class MemberPage(msgspec.Struct, frozen=True):
    """All members of the cluster in the order of names."""

    items: list[MemberView]


class FeatureLevelView(msgspec.Struct, frozen=True):
    """POST /v1/cluster/feature-level."""

    feature_level: int


def node_view(status: ClusterStatus) -> NodeView | None:
    """Render what the answering node is itself; None if the cluster has let it go."""
    itself = next((one for one in status.members if one.id == status.node_id), None)
    if itself is None:
        return None
    return NodeView(
        cluster_id=status.cluster_id,
        node_id=itself.id,
        name=itself.name,
        level=itself.level,
        addresses=itself.addresses if itself.role in {"outsider", "founder"} else None,
    )


def cluster_view(status: ClusterStatus) -> ClusterView:
    """Render the cluster's state, members in the order of names."""
    view = msgspec.convert(status, ClusterView, from_attributes=True)
    members = sorted(view.members, key=lambda member: (member.name, member.id))
    return msgspec.structs.replace(view, members=members)
