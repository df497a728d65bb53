"""How `felix-admin` ends when it cannot do what was asked: codes are stable, hints are commands."""

from __future__ import annotations

from typing import Final

import click

EXIT_REFUSED: Final = 1
"""The cluster said no, or the operator did."""
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
"""Nobody answered, there is no leader, or nobody can say whether it was done."""
EXIT_TIMED_OUT: Final = 4
"""What was begun goes on; only the waiting ended."""

STATUS: Final = "felix-admin cluster status"
LOOK: Final = "look at the cluster: " + STATUS
HINTS: Final[dict[str, str]] = {
    "alive": "a member that is alive is removed first: felix-admin cluster remove MEMBER",
    "ambiguous": "take the identity instead of the name: felix-admin cluster members",
    "change_under_way": "wait until it is done: felix-admin cluster status",
    "feature_level_too_low": "install a newer build on that node, and add it again",
    "forbidden": "take the token of somebody who may: --token-file FILE or FELIX_ADMIN_TOKEN_FILE",
    "lagging": "wait until its lag is small, or take another: felix-admin cluster status",
    "last_voter": "add another member first: felix-admin cluster add --help",
    "leader_is_new": "try again in a second",
    "name_differs": "add it under the name in its own configuration",
    "name_taken": "to replace the dead member of that name: felix-admin cluster add --replace ...",
    "value": "see what it may be: felix-admin config get NAME",
    "quota_exceeded": "see what is used: felix-admin tenant usage or namespace usage; then delete, "
    "or have the quota raised",
    "no_member": "see who is a member: felix-admin cluster members",
    "no_successor": "bring another voter back first: felix-admin cluster status",
    "not_a_voter": "take another voter: felix-admin cluster members",
    "not_alive": "take a voter that is active: felix-admin cluster status",
    "not_found": "see who is a member: felix-admin cluster members",
    "timed_out": "see whether the target keeps up: felix-admin cluster status",
    "unauthorized": "give a token that is still good: --token-file FILE or FELIX_ADMIN_TOKEN_FILE",
    "was_removed": "empty its data directory, so that it draws a new identity, and add it again",
    "no_address": "write host:port for every listener of the node, in its cluster.members too",
    "would_lose_quorum": "bring the silent members back first: felix-admin cluster status",
    "broker_fenced": "take the epoch that counts now: felix-admin broker get BROKER",
    "changed": "make the plan anew: felix-admin placement plan",
    "compacted": "begin with what there is: felix-admin metadata snapshot",
    "deleted": "take the deletion back, or purge it: felix-admin stream undelete, stream purge",
    "disk_full": "make room on the nodes' disks: felix-admin cluster status names them",
    "durable": "say that you mean it: felix-admin stream delete STREAM --yes",
    "grace": "take the deletion back while it can be: felix-admin stream undelete STREAM",
    "has_leader": "nothing is lost here: felix-admin shard transfer, to let another one lead",
    "holds_copies": "empty it first: felix-admin broker drain BROKER; lost for good: --abandon",
    "id_taken": "deregister or remove the other first: felix-admin broker list",
    "key_reused": "take another --idempotency-key: this one was used for another command",
    "key_state": "see which states the keys are in: felix-admin key list",
    "last_admin": "give somebody else the role first: felix-admin grouping add --help",
    "not_deleted": "see which can be taken back: felix-admin stream list --deleted",
    "not_down": "empty it first: felix-admin broker drain BROKER",
    "not_placed": "see what is in the way: felix-admin placement plan",
    "no_such_copy": "see who has copies: felix-admin placement get STREAM",
    "paused": "let it go on: felix-admin placement resume",
    "target_refused": "see who takes shards, and why not: felix-admin broker list",
    "under_way": "wait, or take the other move back: felix-admin move list --under-way",
    "over": "see what is under way: felix-admin move list --under-way",
    "overloaded": "try again in a moment, and more slowly",
    "stale_plan": "look at the plan as it is now: felix-admin placement rebalance --dry-run",
    "subscribers": "end them, or delete it all the same: felix-admin stream delete STREAM --force",
    "target_has_data": "take another broker: felix-admin placement get STREAM",
}
"""What to try next, by `details.reason` or else by `code`."""


class AdminError(click.ClickException):
    """Base of all: a message, the next thing to try, an exit code."""

    def __init__(self, message: str, hint: str = LOOK) -> None:
        super().__init__(plain(message))
        self.hint = hint

    def format_message(self) -> str:
        """Give what `click` writes to stderr after `Error: `."""
        return f"{self.message}\nTry: {self.hint}"


class Refused(AdminError):
    """The cluster said no: nothing was done."""

    exit_code = EXIT_REFUSED

    def __init__(self, message: str, hint: str = LOOK, *, code: str = "", reason: str = "") -> None:
        """`code` and `details.reason` as the cluster says them; empty: it was this tool."""
        super().__init__(message, hint)
        self.code = code
        self.reason = reason


class Usage(AdminError):
    """The command does not make sense as it stands."""

    exit_code = EXIT_USAGE


class Unreachable(AdminError):
    """Nobody answered, or there is no leader: nothing was done."""

    exit_code = EXIT_UNREACHABLE


class OutcomeUnknown(AdminError):
    """It may have been done, and nobody can say."""

    exit_code = EXIT_UNREACHABLE

    def __init__(self, message: str, hint: str = "see whether it was done: " + STATUS) -> None:
        super().__init__(message, hint)


class TimedOut(AdminError):
    """The change goes on; only the waiting ended."""

    exit_code = EXIT_TIMED_OUT


def plain(text: str) -> str:
    """Make text from elsewhere harmless for a terminal."""
    return "".join(one if one.isprintable() or one == "\n" else "?" for one in text)
