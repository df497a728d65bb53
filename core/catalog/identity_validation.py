"""What a command about identity must look like before it may be proposed.

Pointers are those of the HTTP bodies, where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from felix.core.auth.subjects import why_not_a_role, why_not_a_subject
from felix.core.catalog.identity_changes import EVERYONE, ISSUERS_MAX
from felix.core.refusals import BATCH_MAX, TEXT_CHARS_MAX
from felix.proto.command import Command
from felix.proto.commands import (
    ActivateSigningKey,
    BootstrapTenant,
    ChangeGroupings,
    ChangePolicies,
    DeleteBrokerCredential,
    DeleteIssuer,
    GrantRefresh,
    NewIssuer,
    PutBrokerCredential,
    PutIssuer,
    RecordRefusals,
    RetireSigningKey,
    RevokeTokens,
    RewrapSigningKey,
    UseRefresh,
)
from felix.proto.errors import Unprocessable, ValidationFailed
from felix.proto.identity import Assignment, Refusal, Rule
from felix.proto.issuers import ISSUER_CHARS_MAX, check_issuer, is_absolute_url
from felix.proto.names import why_not_a_name
from felix.proto.permissions import GROUP, ROLE, check_rule, read_object

CHANGES_MAX: Final = 1_000
"""Rules, or assignments, of one command."""
ADMINS_MAX: Final = 1_000
URL_CHARS_MAX: Final = ISSUER_CHARS_MAX
AUDIENCES_MAX: Final = 32
AUDIENCE_CHARS_MAX: Final = 512
CLAIM_CHARS_MAX: Final = 128
SCOPES_MAX: Final = 2_000
KID_CHARS_MAX: Final = 128
SEALED_BYTES_MAX: Final = 256
HASH_BYTES: Final = 32
PERMISSIONS_MAX: Final = 2_000
PERMISSION_CHARS_MAX: Final = 1_024
GROUPS_MAX: Final = 200
PRINCIPAL_CHARS_MAX: Final = 512
TIME_MS_MAX: Final = (1 << 63) - 1

_ID: Final = re.compile("[0-9a-f]{32}")
_KEK_ID: Final = re.compile("[0-9a-f]{16}")
_Z85_KEY: Final = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
"""The alphabet of ZeroMQ's RFC 32."""


def check_identity(command: Command) -> None:
    """Check a command about identity; any other passes.

    Raises: ValidationFailed; Unprocessable for what can be said but not be done.
    """
    checker = _CHECKERS.get(type(command))
    if checker is not None:
        checker(command)


# --- tenants and whom they trust ----------------------------------------------------------------


def _bootstrap(command: BootstrapTenant) -> None:
    if not command.display_name.strip():
        raise _failed("/display_name", "must not be blank")
    if not command.admins:
        raise _failed("/initial_admin_principals", "must name at least one")
    _check_count("/initial_admin_principals", command.admins, ADMINS_MAX)
    _check_count("/idp_issuers", command.issuers, ISSUERS_MAX)
    _check_count("/policies", command.policies, CHANGES_MAX)
    _check_count("/groupings", command.groupings, CHANGES_MAX)
    for number, issuer in enumerate(command.issuers):
        _check_issuer(f"/idp_issuers/{number}", issuer)
    for number, admin in enumerate(command.admins):
        _fail_if(f"/initial_admin_principals/{number}", why_not_a_subject(admin))
    for number, rule in enumerate(command.policies):
        _check_rule(f"/policies/{number}", rule, command.tenant_id)
    for number, one in enumerate(command.groupings):
        _check_assignment(f"/groupings/{number}", one)


def _put_issuer(command: PutIssuer) -> None:
    _check_issuer("", command.issuer)


def _delete_issuer(command: DeleteIssuer) -> None:
    """Whatever may stand there may go."""
    if not command.issuer:
        raise _failed("/issuer", "must not be empty")
    _check_text("/issuer", command.issuer, URL_CHARS_MAX)


def _check_issuer(base: str, new: NewIssuer) -> None:
    has_address = new.jwks_url is not None or new.discovery_url is not None
    check_issuer(f"{base}/issuer", new.issuer, has_address=has_address)
    if not new.audiences:
        raise _failed(f"{base}/audiences", "must name at least one: else any token would do")
    _check_count(f"{base}/audiences", new.audiences, AUDIENCES_MAX)
    for number, audience in enumerate(new.audiences):
        _check_filled(f"{base}/audiences/{number}", audience, AUDIENCE_CHARS_MAX)
    if new.discovery_url is not None and new.jwks_url is not None:
        raise _failed(f"{base}/jwks_url", "must not be given together with discovery_url")
    for member in ("discovery_url", "jwks_url"):
        url = getattr(new, member)
        if url is not None:
            _check_url(f"{base}/{member}", url)
    mappings = f"{base}/claim_mappings"
    _check_filled(f"{mappings}/subject_claim", new.subject_claim, CLAIM_CHARS_MAX)
    if new.groups_claim is not None:
        _check_filled(f"{mappings}/groups_claim", new.groups_claim, CLAIM_CHARS_MAX)


def _check_url(pointer: str, url: str) -> None:
    """Check that it is an absolute URL; it is kept byte for byte."""
    if not url.strip():
        raise _failed(pointer, "must not be blank")
    _check_text(pointer, url, URL_CHARS_MAX)
    if any(character.isspace() for character in url):
        raise _failed(pointer, "must have no blanks")
    if not is_absolute_url(url):
        raise _failed(
            pointer, "must be an absolute http or https URL, without user name and fragment"
        )


# --- rules --------------------------------------------------------------------------------------


def _change_policies(command: ChangePolicies) -> None:
    _check_scopes(command.scopes)
    for pointer, rule in _changes(command.add, command.remove):
        _check_rule(pointer, rule, command.tenant_id)


def _change_groupings(command: ChangeGroupings) -> None:
    _check_scopes(command.scopes)
    for pointer, one in _changes(command.add, command.remove):
        _check_assignment(pointer, one)


def _changes(add: tuple[Any, ...], remove: tuple[Any, ...]) -> list[tuple[str, Any]]:
    """List all changes with where they stand; one alone is the body of a request itself."""
    both = (*add, *remove)
    _check_count("", both, CHANGES_MAX)
    if len(both) == 1:
        return [("", both[0])]
    return [
        *((f"/add/{number}", one) for number, one in enumerate(add)),
        *((f"/remove/{number}", one) for number, one in enumerate(remove)),
    ]


def _check_rule(base: str, rule: Rule, tenant_id: str) -> None:
    _fail_if(f"{base}/subject", why_not_a_subject(rule.subject))
    try:
        check_rule(rule.action, rule.object, tenant_id)
    except ValidationFailed as error:
        why = error.message.partition(": ")[2]
        raise _failed(f"{base}{error.details['pointer']}", why) from error


def _check_assignment(base: str, assignment: Assignment) -> None:
    _fail_if(f"{base}/user", why_not_a_subject(assignment.user))
    _fail_if(f"{base}/role", why_not_a_role(assignment.role))


def _check_scopes(scopes: tuple[str, ...] | None) -> None:
    if scopes is None:
        return
    _check_count("/scopes", scopes, SCOPES_MAX)
    for number, scope in enumerate(scopes):
        if read_object(scope) is None:
            raise _failed(f"/scopes/{number}", "is not an object")


# --- keys ---------------------------------------------------------------------------------------


def _activate(command: ActivateSigningKey) -> None:
    _check_filled("/kid", command.kid, KID_CHARS_MAX)
    _check_range("/lead_ms", command.lead_ms, 0, TIME_MS_MAX)


def _retire(command: RetireSigningKey) -> None:
    _check_filled("/kid", command.kid, KID_CHARS_MAX)
    _check_range("/after_ms", command.after_ms, 0, TIME_MS_MAX)


def _rewrap(command: RewrapSigningKey) -> None:
    _check_filled("/kid", command.kid, KID_CHARS_MAX)
    if not _KEK_ID.fullmatch(command.kek_id):
        raise _failed("/kek_id", "must be 16 hex digits")
    _check_range("/sealed", len(command.sealed), 1, SEALED_BYTES_MAX, "bytes")


# --- tokens -------------------------------------------------------------------------------------


def _grant_refresh(command: GrantRefresh) -> None:
    grant = command.grant
    _fail_if("/grant/tenant_id", why_not_a_name(grant.tenant_id))
    _check_id("/grant/grant_id", grant.grant_id)
    if grant.family != grant.grant_id or grant.is_used:
        raise _failed("/grant/family", "the first of a family names itself, and is not used")
    _check_hash("/grant/secret_hash", grant.secret_hash)
    _fail_if("/grant/principal", _why_not_a_principal(grant.principal))
    _check_filled("/grant/issuer", grant.issuer, URL_CHARS_MAX)
    _check_filled("/grant/audience", grant.audience, AUDIENCE_CHARS_MAX)
    _check_range("/grant/expires_at_ms", grant.expires_at_ms, 1, TIME_MS_MAX)
    _check_count("/grant/groups", grant.groups, GROUPS_MAX)
    for number, group in enumerate(grant.groups):
        _fail_if(f"/grant/groups/{number}", why_not_a_subject(group))
    _check_count("/grant/permissions", grant.permissions, PERMISSIONS_MAX)
    for number, permission in enumerate(grant.permissions):
        _check_filled(f"/grant/permissions/{number}", permission, PERMISSION_CHARS_MAX)


def _use_refresh(command: UseRefresh) -> None:
    _check_id("/grant_id", command.grant_id)
    _check_hash("/secret_hash", command.secret_hash)
    _check_id("/next_id", command.next_id)
    _check_hash("/next_secret_hash", command.next_secret_hash)
    if command.next_id == command.grant_id:
        raise _failed("/next_id", "must be another one")


def _revoke_tokens(command: RevokeTokens) -> None:
    if command.principal == EVERYONE:
        return
    _fail_if("/principal", _why_not_a_principal(command.principal))
    if command.principal.startswith(GROUP):
        # A revocation that misses some tokens is worse than none.
        raise Unprocessable(
            "/principal: tokens of a group cannot be told apart, for a token says only those "
            "groups that rules spoke of when it was made: take the group's rules and roles away, "
            "and revoke its members one by one or all tokens of the tenant",
            details={"pointer": "/principal"},
        )


def _why_not_a_principal(text: str) -> str | None:
    return "must not be a role" if text.startswith(ROLE) else why_not_a_subject(text)


# --- brokers, and the trail ---------------------------------------------------------------------


def _put_credential(command: PutBrokerCredential) -> None:
    _fail_if("/broker_id", why_not_a_name(command.broker_id))
    if command.curve_key and not _Z85_KEY.fullmatch(command.curve_key):
        raise _failed("/curve_key", "must be a public key in Z85, 40 characters, or empty")
    if command.secret_hash:
        _check_hash("/secret_hash", command.secret_hash)
    if not command.curve_key and not command.secret_hash:
        raise _failed("", "needs a key, a password, or both")


def _delete_credential(command: DeleteBrokerCredential) -> None:
    _fail_if("/broker_id", why_not_a_name(command.broker_id))


def _record_refusals(command: RecordRefusals) -> None:
    _check_text("/node", command.node, TEXT_CHARS_MAX)
    _check_count("/refusals", command.refusals, BATCH_MAX)
    _check_range("/dropped", command.dropped, 0, TIME_MS_MAX)
    for number, refusal in enumerate(command.refusals):
        _check_refusal(f"/refusals/{number}", refusal)


def _check_refusal(base: str, refusal: Refusal) -> None:
    """Check bounds only: what was refused may well have been a strange text."""
    _check_range(f"{base}/count", refusal.count, 1, TIME_MS_MAX)
    _check_range(f"{base}/time_ms", refusal.time_ms, 0, TIME_MS_MAX)
    for member in refusal.__struct_fields__:
        value = getattr(refusal, member)
        if isinstance(value, str) and len(value) > TEXT_CHARS_MAX:
            raise _failed(f"{base}/{member}", f"must have at most {TEXT_CHARS_MAX} characters")


_CHECKERS: Final[dict[type[Command], Callable[[Any], None]]] = {
    BootstrapTenant: _bootstrap,
    PutIssuer: _put_issuer,
    DeleteIssuer: _delete_issuer,
    ChangePolicies: _change_policies,
    ChangeGroupings: _change_groupings,
    ActivateSigningKey: _activate,
    RetireSigningKey: _retire,
    RewrapSigningKey: _rewrap,
    GrantRefresh: _grant_refresh,
    UseRefresh: _use_refresh,
    RevokeTokens: _revoke_tokens,
    PutBrokerCredential: _put_credential,
    DeleteBrokerCredential: _delete_credential,
    RecordRefusals: _record_refusals,
}


# --- values -------------------------------------------------------------------------------------


def _check_id(pointer: str, value: str) -> None:
    if not _ID.fullmatch(value):
        raise _failed(pointer, "must be 32 hex digits, in lower case")


def _check_hash(pointer: str, value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise _failed(pointer, f"must be {HASH_BYTES} bytes")


def _check_filled(pointer: str, value: str, chars_max: int) -> None:
    if not value.strip():
        raise _failed(pointer, "must not be empty")
    _check_text(pointer, value, chars_max)


def _check_text(pointer: str, value: str, chars_max: int) -> None:
    if len(value) > chars_max:
        raise _failed(pointer, f"must have at most {chars_max} characters")
    if not value.isprintable():
        raise _failed(pointer, "must be printable")


def _check_count(pointer: str, values: Iterable[object], count_max: int) -> None:
    if len(tuple(values)) > count_max:
        raise _failed(pointer, f"must be at most {count_max}")


def _check_range(pointer: str, value: int, low: int, high: int, unit: str = "") -> None:
    if not low <= value <= high:
        raise _failed(pointer, f"must be {low} to {high} {unit}".rstrip())


def _fail_if(pointer: str, why: str | None) -> None:
    if why is not None:
        raise _failed(pointer, why)


def _failed(pointer: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer or '/'}: {why}", details={"pointer": pointer})
