"""The one way into identity: who is asking, tokens for them, and what they may do."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Final

import msgspec

from felix.identity.caller import Caller
from felix.identity.exchange import Exchange, ExchangeRequest, Issued
from felix.identity.fresh import Fresh
from felix.identity.jose import ALGORITHMS
from felix.identity.jwks import IssuerKeys
from felix.identity.reasons import DEPENDS_ON_RULES, NotProven, Refused
from felix.identity.settings import BadSettings, IdentitySettings
from felix.identity.tenants import Tenant, Tenants
from felix.identity.tokens import Unproven, read_token, verify
from felix.identity.upstream import Upstream
from felix.proto.control_plane import Call, ControlPlane
from felix.proto.errors import NotFound
from felix.proto.identity import BrokerCredentials, IdentityView
from felix.proto.queries import ListBrokerCredentials
from felix.storage.sealed import Sealer, Unsealable, load_keks

_NO_HASH: Final = bytes(32)
_BROKERS: Final = "brokers"


class Jwk(msgspec.Struct, frozen=True):
    """A key that signs a tenant's tokens, as brokers read it (contract, section 10.3)."""

    kty: str
    kid: str
    alg: str
    use: str
    crv: str
    x: str


class Gatekeeper:
    """Authenticates requests and gives out tokens. Any thread may use it.

    Made after a worker has forked: it holds private keys, in memory and nowhere else.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        settings: IdentitySettings,
        sealer: Sealer | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take how to ask the node, and clocks in seconds: Unix time, and one that never jumps.

        Without a sealer one is made of the keys in the settings; with none there either, tokens are
        verified and none are given out.

        Raises: BadSettings.
        """
        unknown = set(settings.algorithms) - ALGORITHMS
        assert not unknown, f"the configuration lets {unknown} through"
        self._control_plane = control_plane
        self._settings = settings
        self._clock = clock
        self._tenants = Tenants(control_plane, settings, sealer or sealer_of(settings), monotonic)
        upstream = Upstream(IssuerKeys(control_plane, monotonic), frozenset(settings.algorithms))
        self._exchange = Exchange(control_plane, settings, self._tenants, upstream, clock)
        self._brokers: Fresh[str, dict[str, bytes]] = Fresh(
            self._load_brokers, believed_s=settings.cache_s, entries_max=1, monotonic=monotonic
        )

    def caller_of_token(self, token: str) -> Caller:
        """Find out who bears a Felix token.

        Raises: NotProven; NoLeader and what else the node says.
        """
        unproven = read_token(token)
        tenant_id = unproven.claims.tid
        tenant: Tenant | None = None
        try:
            tenant = self._tenants.get(tenant_id)
            caller = self._verify(unproven, tenant)
        except (Refused, NotFound) as refusal:
            if isinstance(refusal, Refused) and refusal.reason not in DEPENDS_ON_RULES:
                raise
            again = self._tenants.look_again(tenant_id, tenant)
            if again is None:
                if isinstance(refusal, NotFound):
                    raise NotProven("unknown_tenant") from refusal
                raise
            return self._verify(unproven, again)
        if len(caller.permissions) < len(unproven.claims.perms):
            again = self._tenants.look_again(tenant_id, tenant)
            return caller if again is None else self._verify(unproven, again)
        return caller

    def _verify(self, unproven: Unproven, tenant: Tenant) -> Caller:
        accepted = self._settings.accept_broker_tokens
        return verify(unproven, tenant, self._clock(), accept_broker_tokens=accepted)

    def caller_of_basic(self, name: str, password: str) -> Caller:
        """Find out which broker shows a name and a password.

        Raises: NotProven; what else the node says.
        """
        kept = self._brokers.get(_BROKERS).get(name, b"")
        # What is compared takes as long for a name that does not exist.
        shown = hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()
        is_same = hmac.compare_digest(shown, kept or _NO_HASH)
        if not (kept and is_same):
            raise NotProven("broker_credential")
        return Caller(kind="broker", principal=f"broker:{name}")

    def exchange(
        self, tenant_id: str, token: str | None, request: ExchangeRequest, call: Call
    ) -> Issued:
        """Trade an identity provider's token for a Felix token; see `Exchange.exchange`."""
        return self._exchange.exchange(tenant_id, token, request, call)

    def refresh(
        self, tenant_id: str, refresh_token: str, request: ExchangeRequest, call: Call
    ) -> Issued:
        """Trade a refresh token for a Felix token and a successor; see `Exchange.refresh`."""
        return self._exchange.refresh(tenant_id, refresh_token, request, call)

    def identity(self, tenant_id: str, *, fresh: bool = False) -> IdentityView:
        """Give all that is known of a tenant; `fresh` for whoever has just changed it.

        Raises: NotFound; NoLeader and what else the node says.
        """
        return self._tenants.get(tenant_id, fresh=fresh).view

    def jwks(self, tenant_id: str) -> list[Jwk]:
        """List the public keys of a tenant, the one that signs first. Raises: see `identity`."""
        keys = self._tenants.get(tenant_id).ordered_keys
        return [Jwk("OKP", one.kid, "EdDSA", "sig", "Ed25519", one.public_key) for one in keys]

    def _load_brokers(
        self, _key: str, _last: dict[str, bytes] | None, _must_be_fresh: bool
    ) -> dict[str, bytes]:
        answer = self._control_plane.ask(ListBrokerCredentials(), Call(consistency="stale")).result
        assert isinstance(answer, BrokerCredentials)
        return {one.broker_id: one.secret_hash for one in answer.items if one.secret_hash}


def sealer_of(settings: IdentitySettings) -> Sealer | None:
    """Make a sealer of the configured keys; None where none are.

    Raises: BadSettings.
    """
    if not (settings.kek_file or settings.kek):
        return None
    try:
        return Sealer(load_keks(settings.kek_file, settings.kek, settings.previous_kek_files))
    except Unsealable as error:
        raise BadSettings(str(error)) from error
