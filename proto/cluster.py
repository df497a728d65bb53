"""What changes the cluster itself, not what it stores: members and leadership.

Carried out by the leader, to which every node passes them on. The answer is `ClusterStatus`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from felix.proto.raft import Addresses


class Operation(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", gc=False
):
    """Base of all operations."""


class AddMember(Operation, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Take a node in as a learner; the leader makes it a voter once it keeps up.

    Answered when the learner is committed. Asking again for a member that is there changes nothing.
    With `replace` the member of the same name leaves in the step in which this one is promoted; it
    must not be alive. Errors: membership_refused.
    """

    member_id: str
    """The identity that the node wrote into its data directory."""
    name: str
    addresses: Addresses
    level: int = 1
    replace: bool = False


class UpdateMember(Operation, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Note a member's present addresses and feature level. Errors: membership_refused."""

    member_id: str
    addresses: Addresses
    level: int = 1


class RemoveMember(Operation, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Let a member leave for good. Answered when it has left.

    Errors: membership_refused, not_found.
    """

    member: str
    """Its identity, or its name where only one has it."""


class TransferLeadership(Operation, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Hand leadership over. Answered when another node leads.

    Errors: transfer_refused, not_found.
    """

    target: str = ""
    """Identity or name; empty: the most advanced voter."""


AnyOperation: TypeAlias = AddMember | UpdateMember | RemoveMember | TransferLeadership
