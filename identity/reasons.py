"""Why somebody was refused: for the audit trail, and never for the caller.

A caller who cannot prove who it is learns that and no more: each hint would help whoever tries
tokens. An administrator of the tenant finds the reason by the request id. Callers who have proven
it are told what they can mend themselves, and nothing about others.
"""

from __future__ import annotations

from typing import Final, Literal

from felix.proto.errors import FelixError, Forbidden, Unauthorized

Reason = Literal[
    "no_token",
    "token_too_large",
    "malformed",
    "algorithm",
    "critical_header",
    "no_kid",
    "no_issuer",
    "unknown_tenant",
    "no_issuers",
    "issuer_not_trusted",
    "kid_unknown",
    "key_unusable",
    "signature",
    "exp_missing",
    "expired",
    "lifetime_too_long",
    "nbf_invalid",
    "not_yet_valid",
    "iat_missing",
    "iat_in_future",
    "audience",
    "subject",
    "groups",
    "group_overage",
    "too_many_groups",
    "too_many_roles",
    "no_permissions",
    "too_many_permissions",
    "wrong_issuer",
    "broker_token_not_accepted",
    "revoked",
    "refresh_token",
    "refresh_audience",
    "broker_credential",
]
"""All of them; they stand in the audit trail, so they are stable."""

NOT_PROVEN: Final = "the caller has not proven who it is"
NOT_ALLOWED: Final = "the caller may not do this"
TOLD: Final[dict[Reason, str]] = {
    "group_overage": "the identity provider left the groups out of the token, there being too many;"
    " have it send only those that matter here",
    "too_many_groups": "the token names too many groups; have the identity provider send only those"
    " that matter here",
    "too_many_permissions": "the token would become too large; ask for less by `requested` or"
    " `resources`",
}
"""What a caller is told nevertheless. These are found only after it has proven who it is."""


DEPENDS_ON_RULES: Final[frozenset[Reason]] = frozenset({
    "unknown_tenant", "no_issuers", "issuer_not_trusted", "audience", "subject", "groups",
    "no_permissions", "too_many_roles", "signature",
})  # fmt: skip
"""Refusals that may be wrong a moment after somebody has changed whom a tenant trusts, which keys
sign for it, or what its people may do."""


class Refused(FelixError):
    """A refusal whose reason the caller is not told, unless it is one of `TOLD`.

    It is raised as one of the two below; `code`, message and details are the same for all others.
    """

    def __init__(self, message: str, reason: Reason, *, principal: str = "") -> None:
        super().__init__(
            TOLD.get(reason, message), details={"reason": reason} if reason in TOLD else {}
        )
        self.reason: Reason = reason
        self.principal = principal
        """Who it was, where that was proven before the refusal."""


class NotProven(Refused, Unauthorized):
    """`Unauthorized`, for a reason."""

    def __init__(self, reason: Reason, *, principal: str = "") -> None:
        super().__init__(NOT_PROVEN, reason, principal=principal)


class NotAllowed(Refused, Forbidden):
    """`Forbidden`, for a reason."""

    def __init__(self, reason: Reason, *, principal: str = "") -> None:
        super().__init__(NOT_ALLOWED, reason, principal=principal)


def reason_of(error: FelixError) -> str:
    """Give what the audit trail says about a refusal; empty where its code says it all."""
    return error.reason if isinstance(error, Refused) else ""
