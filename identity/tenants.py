"""Tenants as a worker knows them: whom they trust, who may do what, and the keys that sign.

The node has the replicated truth. A worker believes for `cache_s` what it said, and has it in a
form in which nothing is left to a request that could be done before.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from felix.core.auth.keys import jwks_order
from felix.core.auth.rbac import RuleBook, granted
from felix.identity.fresh import Fresh
from felix.identity.jose import header_of
from felix.identity.principals import short_id
from felix.identity.reasons import NotAllowed
from felix.identity.settings import IdentitySettings
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import FelixError, NoLeader, NotFound, TooLarge
from felix.proto.identity import IdentityView
from felix.proto.names import why_not_a_name
from felix.proto.permissions import Permission
from felix.proto.queries import GetTenantIdentity
from felix.storage.sealed import Sealer, Unsealable

TENANTS_MAX: Final = 4_096
RIGHTS_MAX: Final = 128
"""Principals of a tenant whose rights are kept ready."""

FRESH_S: Final = 1.0
"""How long to wait for what is true now."""
_STALE: Final = Call(consistency="stale")

_log = structlog.get_logger()


class Rights(msgspec.Struct, frozen=True):
    """What some subjects may do together."""

    permissions: tuple[Permission, ...]
    by_text: dict[str, Permission]
    """The same, in the same order, by what tokens hold."""


class Signer(msgspec.Struct, frozen=True):
    """The key that signs."""

    kid: str
    key: Ed25519PrivateKey
    header: bytes
    """Of every token that it signs, in base64url."""


class Tenant:
    """What there is to know of a tenant, made once per change. It never changes."""

    def __init__(self, view: IdentityView, sealer: Sealer | None) -> None:
        self.tenant_id = view.tenant_id
        self.view = view
        self.book = RuleBook(view.tenant_id, view.policies, view.groupings)
        self.issuers = {one.issuer: one for one in view.issuers}
        self.issuers_by_short_id = {short_id(one.issuer): one for one in view.issuers}
        self.revoked_before_ms = {one.principal: one.before_ms for one in view.revocations}
        self.ordered_keys = jwks_order(view.keys)
        self.public_keys = {one.kid: _public(one.public_key) for one in self.ordered_keys}
        self.signer = _signer(view, sealer)
        """None: the private half cannot be had here."""
        self._rights: dict[tuple[str, ...], Rights] = {}

    def subjects_of(self, principal: str, groups: tuple[str, ...]) -> tuple[str, ...]:
        """List a principal and those of its groups that any rule speaks of."""
        return (principal, *(one for one in groups if self.book.mentions(one)))

    @property
    def has_one_issuer(self) -> bool:
        """Tell whether a group's name can mean only one group."""
        return len(self.issuers) == 1

    def rights_of(self, subjects: tuple[str, ...]) -> Rights:
        """List what subjects together may do now.

        Raises: NotAllowed if that reaches too far to be worked out.
        """
        known = self._rights.get(subjects)
        if known is None:
            try:
                permissions = granted(self.book, self.tenant_id, subjects)
            except TooLarge as error:
                raise NotAllowed("too_many_roles") from error
            known = Rights(permissions, {str(one): one for one in permissions})
            if len(self._rights) >= RIGHTS_MAX:
                self._rights.clear()
            self._rights[subjects] = known
        return known


class Tenants:
    """All tenants that requests speak of. Any thread may use it."""

    def __init__(
        self,
        control_plane: ControlPlane,
        settings: IdentitySettings,
        sealer: Sealer | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._control_plane = control_plane
        self._age_max_ms = settings.identity_age_max_s * 1000
        self._sealer = sealer
        self._known: Fresh[str, Tenant] = Fresh(
            self._load,
            believed_s=settings.cache_s,
            entries_max=TENANTS_MAX,
            monotonic=monotonic,
        )

    def get(self, tenant_id: str, *, fresh: bool = False) -> Tenant:
        """Give a tenant as it was a moment ago, or, for whoever has just changed it, as it is.

        Raises: NotFound; NoLeader if the node has heard nothing new for too long; what else the
        node says.
        """
        if why_not_a_name(tenant_id) is not None:
            raise NotFound("there is no such tenant")
        return self._known.renew(tenant_id) if fresh else self._known.get(tenant_id)

    def look_again(self, tenant_id: str, seen: Tenant | None) -> Tenant | None:
        """Give a tenant as it is now where that is not what was seen of it; else None.

        So that nobody is refused for what was true a moment ago: what one worker writes, all
        others know when it matters.
        """
        if why_not_a_name(tenant_id) is not None:
            return None
        try:
            found = self._known.renew_together(tenant_id)
        except FelixError:
            return None  # it cannot be known now, and is refused by what was known
        return None if found is seen else found

    def _load(self, tenant_id: str, last: Tenant | None, must_be_fresh: bool) -> Tenant:
        query = GetTenantIdentity(
            tenant_id=tenant_id, known_index=0 if last is None else last.view.changed_index
        )
        call = Call(timeout_s=FRESH_S, consistency="linearizable") if must_be_fresh else _STALE
        answered = self._control_plane.ask(query, call)
        if answered.age_ms > self._age_max_ms:
            raise NoLeader(
                "this node has heard of no leader for longer than auth.identity_age_max_s, "
                "and lets nobody in; see /ready and /metrics of all nodes"
            )
        view = answered.result
        assert isinstance(view, IdentityView)
        if view.is_unchanged:
            assert last is not None, "nothing was known that could be unchanged"
            return last
        return Tenant(view, self._sealer)


def _public(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(text + "="))


def _signer(view: IdentityView, sealer: Sealer | None) -> Signer | None:
    active = next((key for key in view.keys if key.state == "active"), None)
    if active is None or sealer is None:
        return None
    sealed = next((one for one in view.sealed_keys if one.kid == active.kid), None)
    if sealed is None or sealed.public_key != active.public_key:
        _log.error("signing_key_without_private_half", tenant_id=view.tenant_id, kid=active.kid)
        return None
    try:
        key = sealer.open(sealed)
        return Signer(active.kid, key, header_of(active.kid, key))
    except Unsealable as error:
        _log.error("signing_key_not_unsealed", tenant_id=view.tenant_id, why=str(error))
        return None
