"""Every error the control plane says aloud, in families by what the caller may conclude.

* `NotApplied`: the request had no effect and will have none.
* `Unknown`: the request may or may not have taken effect. A retry is safe only with an
  idempotency key.
* `Gone`: what was asked for is not there (any more).

`code` is stable and part of the protocol; messages are for people and may change.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec

Outcome = Literal["not_applied", "unknown", "gone"]

FENCED_REPLACED: Final = "replaced"
"""`details.reason` of `broker_fenced`: a later boot has the id."""


class ErrorReply(msgspec.Struct, frozen=True, tag="Error", tag_field="type", omit_defaults=True):
    """An error as it travels."""

    code: str
    message: str
    outcome: Outcome = "not_applied"
    retry_after_ms: int | None = None
    """How long to wait before trying again; absent where trying again cannot help."""
    details: dict[str, int | str] = {}


class FelixError(Exception):
    """Base of everything a peer or caller may be told."""

    code: ClassVar[str] = "internal"
    outcome: ClassVar[Outcome] = "unknown"

    def __init__(
        self,
        message: str,
        *,
        retry_after_ms: int | None = None,
        details: dict[str, int | str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.details = details or {}

    def to_reply(self) -> ErrorReply:
        """Render for the wire."""
        return ErrorReply(self.code, self.message, self.outcome, self.retry_after_ms, self.details)


class NotApplied(FelixError):
    """The request had no effect and will have none."""

    outcome = "not_applied"


class Unknown(FelixError):
    """The outcome is not known to whoever answers."""

    outcome = "unknown"


class Gone(FelixError):
    """What was asked for is not there (any more)."""

    outcome = "gone"


# --- the peer's fault: the bytes or the values are wrong --------------------------------------


class Malformed(NotApplied):
    """The bytes are not a message of this protocol (syntax, size, depth, version)."""

    code = "malformed"


class UnsupportedVersion(Malformed):
    """The envelope has a version this build does not speak."""

    code = "unsupported_version"


class UnknownMessage(Malformed):
    """The message type is not known, or not one that may be sent here."""

    code = "unknown_message"


class Unprocessable(NotApplied):
    """Well-formed, but a member is missing, of the wrong type or out of its type's range."""

    code = "unprocessable"


class ValidationFailed(NotApplied):
    """Well-typed, but a value breaks a rule of the model; `details["pointer"]` says which."""

    code = "validation_error"


class KeyReused(NotApplied):
    """The idempotency key was used before with another request."""

    code = "key_reused"


# --- the state says no ------------------------------------------------------------------------


class NotFound(Gone):
    """The object, or the parent it should live in, does not exist."""

    code = "not_found"


class AlreadyExists(NotApplied):
    """A tenant or namespace of that name exists."""

    code = "already_exists"


class Conflict(NotApplied):
    """A stream or cache of that name exists."""

    code = "conflict"


class PreconditionFailed(NotApplied):
    """`expected_version` is not the version that last changed the object."""

    code = "precondition_failed"


class Compacted(Gone):
    """History does not reach back that far; `details` has `oldest`, `current`, `epoch`."""

    code = "compacted"


class FutureVersion(NotApplied):
    """The version asked for has not happened yet; `details` has `current` and `epoch`."""

    code = "future_version"


# --- who asks, and whether they may -------------------------------------------------------------


class Unauthorized(NotApplied):
    """The caller has not proven who it is; it is not told what was wrong with the proof."""

    code = "unauthorized"


class Forbidden(NotApplied):
    """The caller is known, and may not."""

    code = "forbidden"


class NotEnabled(NotApplied):
    """This door is closed by the configuration."""

    code = "not_enabled"


class AlreadyInitialized(NotApplied):
    """The tenant has its first administrators."""

    code = "already_initialized"


class LastAdmin(NotApplied):
    """Nobody would be left who can give rights in the tenant."""

    code = "last_admin"


class KeyStateRefused(NotApplied):
    """The signing key is not in a state for this; `details["reason"]` says why."""

    code = "key_state"


class IdpUnavailable(NotApplied):
    """The identity provider cannot be asked, and its keys are not known."""

    code = "idp_unavailable"


# --- the cluster says not now -----------------------------------------------------------------


class NotLeader(NotApplied):
    """This node is not the leader; `details` may have `leader_id`."""

    code = "not_leader"


class NoLeader(NotApplied):
    """There is no leader, or no quorum to confirm one."""

    code = "no_leader"


class Overloaded(NotApplied):
    """Too much is in flight; what has been accepted is being finished."""

    code = "overloaded"


class TooLarge(NotApplied):
    """A message, batch or value is larger than its limit."""

    code = "too_large"


class DiskFull(NotApplied):
    """The leader's disk is nearly full: only what frees space is taken until there is more."""

    code = "disk_full"


class MembershipRefused(NotApplied):
    """A membership change that is not possible, or not now; `details["reason"]` says why."""

    code = "membership_refused"


class TransferRefused(NotApplied):
    """Leadership could not be handed over; `details["reason"]` says why. Writes go on."""

    code = "transfer_refused"


class BrokerFenced(NotApplied):
    """This boot of the broker does not count: stop serving. `details.reason` says what is next.

    `replaced`: another boot has registered since; this one is to end, and not to register again, or
    two processes with one id would take it from each other for ever. `stopped` (somebody
    deregistered it), `restored` (the cluster went back to before its registration): register again.
    """

    code = "broker_fenced"


class FeatureLevelTooLow(NotApplied):
    """Not every member can apply this yet, or the level asked for is below the one in force;
    `details` has `needed` and `active`."""

    code = "feature_level_too_low"


class ShuttingDown(NotApplied):
    """The node is stopping and takes no new work."""

    code = "shutting_down"


class DeadlineExceeded(Unknown):
    """The deadline passed; a write may still take effect."""

    code = "deadline_exceeded"


class OutcomeUnknown(Unknown):
    """Leadership was lost while the write was under way; it may still take effect."""

    code = "outcome_unknown"


class Internal(Unknown):
    """A fault of ours."""

    code = "internal"


def _families(base: type[FelixError]) -> dict[str, type[FelixError]]:
    found = {}
    for cls in base.__subclasses__():
        found.update(_families(cls))
        if "code" in vars(cls):
            found[cls.code] = cls
    return found


BY_CODE: dict[str, type[FelixError]] = _families(FelixError)

DECIDED_AT_APPLY: Final = frozenset({
    "already_exists", "already_initialized", "conflict", "forbidden", "key_reused", "key_state",
    "last_admin", "not_found", "precondition_failed", "unauthorized",
})  # fmt: skip
"""With one of these a command that was proposed is in the audit trail already: it was applied."""


def from_reply(reply: ErrorReply) -> FelixError:
    """Turn a received error back into the exception it was.

    A code of a newer peer becomes the plain error of its family.
    """
    families: dict[Outcome, type[FelixError]] = {
        "not_applied": NotApplied,
        "unknown": Unknown,
        "gone": Gone,
    }
    cls = BY_CODE.get(reply.code, families[reply.outcome])
    return cls(reply.message, retry_after_ms=reply.retry_after_ms, details=dict(reply.details))
