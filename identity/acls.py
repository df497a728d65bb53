"""Access lists as a view of rules: what HTTP shows and takes (seed, "ACL Management")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import msgspec

from felix.core.auth.acl import Acl, AclPermission, acls_of, rules_of_acl
from felix.proto.identity import Policy, Rule

__all__ = ["Acl", "AclPermission", "Change", "acls_of", "clearing", "replacing"]


class Change(msgspec.Struct, frozen=True):
    """The rules to add and to remove."""

    add: tuple[Rule, ...] = ()
    remove: tuple[Rule, ...] = ()


def replacing(policies: Iterable[Policy], acl: Acl) -> Change:
    """Give its principal what a list says on its resource, and nothing else that a list can say.

    Raises: ValidationFailed for a list that no rules can say.
    """
    wanted = rules_of_acl(acl)
    surplus = [rule for rule in clearing(policies, acl).remove if rule not in wanted]
    return Change(wanted, tuple(surplus))


def clearing(policies: Iterable[Policy], acl: Acl) -> Change:
    """Take from a principal all that a list can say on its resource; permissions do not matter.

    Raises: ValidationFailed for a principal, namespace or resource that none can be about.
    """
    everything = rules_of_acl(msgspec.structs.replace(acl, permissions=get_args(AclPermission)))
    held = {Rule(one.subject, one.object, one.action) for one in policies}
    return Change(remove=tuple(rule for rule in everything if rule in held))
