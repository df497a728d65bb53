"""Why somebody may do something: asked of the very function that enforces it."""

from __future__ import annotations

from collections.abc import Iterable

from felix.core.auth.rbac import Explanation, RuleBook, explain
from felix.proto.identity import IdentityView
from felix.proto.permissions import Object

__all__ = ["Explanation", "explain_to"]


def explain_to(
    view: IdentityView, subjects: Iterable[str], action: str, target: Object
) -> Explanation:
    """Say which rule of a tenant lets subjects together do something, or what comes nearest.

    Raises: TooLarge where there are too many roles to look at.
    """
    rules = RuleBook(view.tenant_id, view.policies, view.groupings)
    return explain(rules, view.tenant_id, subjects, action, target)
