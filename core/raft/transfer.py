"""Handing leadership over (section 3.10): it always ends within one election timeout."""

from __future__ import annotations

from typing import Final

from felix.core.raft.config import RaftConfig
from felix.core.raft.progress import Mode, Progress
from felix.proto.errors import TransferRefused
from felix.proto.ids import Index, NodeId

LAG_MAX: Final = 10_000
"""A successor that lacks more entries than this would not catch up while writes wait."""


class Transfer:
    """A handover under way. New writes wait for its end."""

    def __init__(self, target: NodeId, config: RaftConfig) -> None:
        self.target = target
        self.is_told = False
        """Whether the successor was told to stand for election."""
        self._ticks_left = config.election_ticks_min

    def tick(self) -> bool:
        """Let one tick pass; False when the time is up."""
        self._ticks_left -= 1
        return self._ticks_left > 0


def successor(voters: dict[NodeId, Progress], wanted: NodeId | None, last: Index) -> NodeId:
    """Choose who leads next: the one wanted, else the most advanced voter that is alive.

    Raises: TransferRefused.
    """
    if wanted is None:
        fit = {
            voter: progress
            for voter, progress in voters.items()
            if why_unfit(progress, last) is None
        }
        if not fit:
            raise refused("no_successor", "no other voter is alive and keeps up")
        return max(fit, key=lambda voter: (fit[voter].match, voter))
    if wanted not in voters:
        raise refused("not_a_voter", "the target is not another voter")
    reason = why_unfit(voters[wanted], last)
    if reason is not None:
        raise refused(reason, f"the target cannot take over: {reason}")
    return wanted


def why_unfit(progress: Progress, last: Index) -> str | None:
    """Say why a voter could not take over at once."""
    if not progress.is_active:
        return "not_alive"
    if progress.mode is Mode.SNAPSHOT or last - progress.match > LAG_MAX:
        return "lagging"
    return None


def refused(reason: str, message: str) -> TransferRefused:
    """Make the refusal."""
    return TransferRefused(message, details={"reason": reason})
