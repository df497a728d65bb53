"""Refresh tokens: used once, followed by a successor, ended as a family when one is used twice.

OAuth 2.0 Security Best Current Practice (RFC 9700, section 4.14.2): whoever uses a token that was
used before may be a thief, or may have been robbed; nobody can tell, so both have to begin anew.
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from felix.core.catalog.identity_changes import require_tenant
from felix.core.catalog.identity_tables import ISSUERS, REFRESH_GRANTS
from felix.core.catalog.steps import Context, Outcome, Step
from felix.proto.commands import GrantRefresh, UseRefresh
from felix.proto.errors import Conflict, NotFound, Unauthorized
from felix.proto.identity import Done, RefreshGrant
from felix.proto.resources import Key

GRANTS_MAX: Final = 64
"""Of a principal, used ones included, which go first; of each kind the oldest."""


def grant_refresh(command: GrantRefresh, context: Context) -> Outcome:
    """Keep a new grant; one that is there already is as if it had come once.

    Raises: NotFound, Conflict.
    """
    grant = msgspec.structs.replace(command.grant, changed_index=context.index)
    require_tenant(context, grant.tenant_id)
    if (grant.tenant_id, grant.issuer) not in context.store.tables[ISSUERS].rows:
        raise NotFound("the identity provider is not trusted any more")
    there: RefreshGrant | None = context.store.tables[REFRESH_GRANTS].rows.get(grant.key)
    if there is not None:
        if not hmac.compare_digest(there.secret_hash, grant.secret_hash):
            raise Conflict("another refresh token has this id")
        return Outcome([], Done(changed=False, id=grant.grant_id))
    return Outcome([*_room_for_one(grant, context), _added(grant)], Done(id=grant.grant_id))


def use_refresh(command: UseRefresh, context: Context) -> Outcome:
    """Trade a grant for its successor; the same trade again gives the same one.

    Raises: Unauthorized, Conflict.
    """
    refused = Unauthorized("the refresh token is not good")
    place = (command.tenant_id, command.grant_id)
    found: RefreshGrant | None = context.store.tables[REFRESH_GRANTS].rows.get(place)
    if found is None or not hmac.compare_digest(found.secret_hash, command.secret_hash):
        raise refused
    if found.expires_at_ms <= context.now_ms:
        raise refused
    if found.is_used:
        same = _made_before(command, found, context)
        if same is not None:
            return Outcome([], same)
        return Outcome(_family(found, context), refused.to_reply())
    used = msgspec.structs.replace(found, is_used=True, changed_index=context.index)
    following = msgspec.structs.replace(
        found,
        grant_id=command.next_id,
        secret_hash=command.next_secret_hash,
        changed_index=context.index,
    )
    if following.key in context.store.tables[REFRESH_GRANTS].rows:
        raise Conflict("another refresh token has the id of the successor")
    steps = [
        *_room_for_one(following, context, keep=found.key),
        Step(REFRESH_GRANTS, place, found, used),
        _added(following),
    ]
    return Outcome(steps, following)


def _made_before(command: UseRefresh, used: RefreshGrant, context: Context) -> RefreshGrant | None:
    """Find the successor that this very trade has made already, if nobody has used it yet.

    Whoever asks for it again has not got the answer. Once it was used somebody has: then two hold
    the same token, and that is what a family is ended for.
    """
    place = (command.tenant_id, command.next_id)
    made: RefreshGrant | None = context.store.tables[REFRESH_GRANTS].rows.get(place)
    if made is None or made.is_used or made.family != used.family:
        return None
    is_same = hmac.compare_digest(made.secret_hash, command.next_secret_hash)
    return made if is_same else None


def _family(grant: RefreshGrant, context: Context) -> list[Step]:
    rows = context.store.tables[REFRESH_GRANTS].rows
    mine = [rows[key] for key in context.refresh.of(grant.tenant_id, grant.principal)]
    return [Step(REFRESH_GRANTS, one.key, one, None) for one in mine if one.family == grant.family]


def _room_for_one(grant: RefreshGrant, context: Context, keep: Key | None = None) -> list[Step]:
    mine = context.refresh.of(grant.tenant_id, grant.principal)
    rows = context.store.tables[REFRESH_GRANTS].rows
    too_many = [key for key in mine if key != keep][: max(0, len(mine) + 1 - GRANTS_MAX)]
    return [Step(REFRESH_GRANTS, key, rows[key], None) for key in too_many]


def _added(grant: RefreshGrant) -> Step:
    return Step(REFRESH_GRANTS, grant.key, None, grant)
