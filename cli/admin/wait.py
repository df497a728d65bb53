"""Follows a change of the cluster until it is committed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from felix.cli.admin.errors import STATUS, OutcomeUnknown, Refused, TimedOut, Unreachable
from felix.http.cluster_views import ClusterView, MemberView

POLL_S: Final = 0.2


class Step(msgspec.Struct, frozen=True):
    """How far a change has come."""

    stage: str
    """One word; as long as it is the same only numbers move."""
    text: str
    lag: int | None = None
    """Entries still to be caught up with, where that is what is waited for."""
    is_last: bool = False


def joining(view: ClusterView, member_id: str) -> Step:
    """Say how far a new member is. Raises: Refused when somebody took it out again."""
    member = member_of(view, member_id)
    if member is None:
        raise Refused("somebody removed it again before it became a voter")
    name = member.name
    if not member.voter:
        if member.lag is None:
            return Step("learner", f"{name} is a learner")
        if member.lag == 0:
            return Step("steady", f"{name} keeps up and will soon be a voter", 0)
        return Step("behind", f"{name} is {member.lag:,} entries behind the leader", member.lag)
    if view.change_under_way:
        return Step("joint", f"{name} is becoming a voter")
    return Step("voter", f"{name} is a voter", is_last=True)


def leaving(view: ClusterView, gone: MemberView) -> Step:
    """Say how far a member that is to go is."""
    if member_of(view, gone.id) is not None:
        return Step("leaving", f"{gone.name} is leaving")
    if view.change_under_way:
        return Step("joint", f"{gone.name} has left; the others are agreeing on it")
    return Step("left", f"{gone.name} has left", is_last=True)


def member_of(view: ClusterView, member_id: str) -> MemberView | None:
    """Find a member by its identity."""
    return next((member for member in view.members if member.id == member_id), None)


def _pause() -> None:
    time.sleep(POLL_S)


def follow(
    look: Callable[[], ClusterView],
    step_of: Callable[[ClusterView], Step],
    say: Callable[[Step], None],
    *,
    timeout_s: float,
    pause: Callable[[], None] = _pause,
) -> ClusterView:
    """Look again and again until a change of members is done, and give the cluster after it.

    A node that is behind what was seen before does not count. Raises: see `until_done`.
    """
    seen: list[ClusterView] = []
    last = Step("begin", "nothing was seen yet")

    def take() -> Step:
        nonlocal last
        view = look()
        if view.leader_id is None:
            last = Step("leaderless", "there is no leader just now")
        elif not seen or _progress_of(view) >= _progress_of(seen[0]):
            seen[:] = [view]
            last = step_of(view)
        return last

    until_done(take, say, timeout_s=timeout_s, pause=pause, look_at=STATUS)
    return seen[0]


def _progress_of(view: ClusterView) -> tuple[int, int]:
    return view.term, view.commit_index


def until_done(
    step: Callable[[], Step],
    say: Callable[[Step], None],
    *,
    timeout_s: float,
    look_at: str,
    pause: Callable[[], None] = _pause,
) -> None:
    """Take steps until the last one.

    Looks that fail do not end it: the leader may be the one that leaves. `look_at`: the command
    that shows how far it is. Raises: TimedOut, on Ctrl-C too, and what `step` raises.
    """
    deadline_s = time.monotonic() + timeout_s
    last = Step("begin", "nothing was seen yet")
    hint = f"see how far it is: {look_at}"
    try:
        while True:
            last = _look(step)
            say(last)
            if last.is_last:
                return
            if time.monotonic() > deadline_s:
                break
            pause()
    except KeyboardInterrupt:
        raise TimedOut(f"it goes on without this command: {last.text}", hint) from None
    raise TimedOut(
        f"not done within {timeout_s:g} s, and it goes on without this command: {last.text}", hint
    )


def _look(step: Callable[[], Step]) -> Step:
    try:
        return step()
    except (Unreachable, OutcomeUnknown):
        return Step("silence", "no node answers just now")
