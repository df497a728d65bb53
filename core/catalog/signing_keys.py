"""Commands on the keys that sign a tenant's tokens (`core.auth.keys` says when they are due)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from felix.core.catalog.identity_changes import require_tenant, touched
from felix.core.catalog.identity_tables import SEALED_KEYS, keys_of
from felix.core.catalog.steps import Context, Outcome, Step
from felix.proto.commands import (
    ActivateSigningKey,
    RetireSigningKey,
    RewrapSigningKey,
    StageSigningKey,
)
from felix.proto.errors import KeyStateRefused, NotEnabled, NotFound
from felix.proto.identity import Done, NewKey, SealedKey
from felix.proto.resources import KeyState, SigningKey

_NO_KEK: Final = "no key-encryption key is configured"


def first_key(tenant_id: str, context: Context, offset: int) -> list[Step]:
    """Give a tenant the key that signs from the start: nobody has heard of another one yet.

    Where no node could make one up, the tenant has none, and bootstrap will see to it.
    """
    new_key = context.stamp.new_key
    if new_key is None:
        return []
    return _with_new_key(tenant_id, new_key, "active", context, offset)


def ensure_key(tenant_id: str, context: Context, offset: int) -> tuple[list[Step], str]:
    """Make sure that a tenant has a key that signs; give the steps and its `kid`.

    Raises: NotEnabled.
    """
    active = _active(keys_of(context.store, tenant_id))
    if active is not None:
        return [], active.kid
    new_key = _new_key(context)
    return first_key(tenant_id, context, offset), new_key.kid


def stage(command: StageSigningKey, context: Context) -> Outcome:
    """Publish a new key. Raises: NotFound, KeyStateRefused, NotEnabled."""
    require_tenant(context, command.tenant_id)
    if any(one.state == "published" for one in keys_of(context.store, command.tenant_id)):
        raise _refused("already_staged", "a key is published and does not sign yet")
    new_key = _new_key(context)
    steps = _with_new_key(command.tenant_id, new_key, "published", context, 0)
    return _outcome(command.tenant_id, context, steps, new_key.kid)


def activate(command: ActivateSigningKey, context: Context) -> Outcome:
    """Sign with a published key from now on. Raises: NotFound, KeyStateRefused."""
    key = _existing(command.tenant_id, command.kid, context)
    if key.state != "published":
        raise _refused(f"is_{key.state}", f"the key is {key.state}, not published")
    wait_ms = key.state_since_ms + command.lead_ms - context.now_ms
    if wait_ms > 0:
        raise _refused(
            "too_early",
            f"the key was published less than {command.lead_ms // 1000} s ago: brokers that look "
            "once an hour may not know it yet",
            wait_ms=wait_ms,
        )
    return _outcome(command.tenant_id, context, _switched_to(key, context), key.kid)


def retire(command: RetireSigningKey, context: Context) -> Outcome:
    """Take a key out of use. Raises: NotFound, KeyStateRefused, NotEnabled."""
    key = _existing(command.tenant_id, command.kid, context)
    keys = keys_of(context.store, command.tenant_id)
    if not command.revoke:
        _check_may_retire(key, command.after_ms, context)
        if len(keys) == 1:
            raise _refused("is_last", "the tenant would have no key: stage another, or revoke it")
    steps: list[Step] = []
    signs = _active(keys)
    kid = "" if signs is None else signs.kid
    if key.state == "active" or len(keys) == 1:
        # The successor comes first: at no version is the tenant without a key.
        heir = next((one for one in keys if one.state == "published" and one != key), None)
        if heir is not None:
            steps, kid = [_in_state(heir, "active", context, 0)], heir.kid
        else:
            new_key = _new_key(context)
            steps = _with_new_key(command.tenant_id, new_key, "active", context, 0)
            kid = new_key.kid
    steps += _gone(key, context)
    return _outcome(command.tenant_id, context, steps, kid)


def rewrap(command: RewrapSigningKey, context: Context) -> Outcome:
    """Keep a private key encrypted with another key-encryption key. Raises: NotFound."""
    _existing(command.tenant_id, command.kid, context)
    place = (command.tenant_id, command.kid)
    before: SealedKey = context.store.tables[SEALED_KEYS].rows[place]
    after = msgspec.structs.replace(before, kek_id=command.kek_id, sealed=command.sealed)
    if after == before:
        return Outcome([], Done(changed=False, id=command.kid))
    steps = [Step(SEALED_KEYS, place, before, after)]
    return _outcome(command.tenant_id, context, steps, command.kid)


def _check_may_retire(key: SigningKey, after_ms: int, context: Context) -> None:
    if key.state == "active":
        raise _refused("is_active", "the key signs: activate another one first, or revoke it")
    wait_ms = key.state_since_ms + after_ms - context.now_ms
    if key.state == "retiring" and wait_ms > 0:
        raise _refused(
            "too_early", "tokens that the key has signed may still be in use", wait_ms=wait_ms
        )


def _switched_to(key: SigningKey, context: Context) -> list[Step]:
    steps = [
        _in_state(one, "retiring", context, 0)
        for one in keys_of(context.store, key.tenant_id)
        if one.state == "active"
    ]
    return [*steps, _in_state(key, "active", context, len(steps))]


def _in_state(key: SigningKey, state: KeyState, context: Context, offset: int) -> Step:
    changed: dict[str, Any] = {
        "state": state,
        "state_since_ms": context.now_ms,
        "version": context.next_version + offset,
        "updated_at_ms": context.stamp.time_ms,
    }
    return Step("SigningKey", key.key, key, msgspec.structs.replace(key, **changed))


def _with_new_key(
    tenant_id: str, new_key: NewKey, state: KeyState, context: Context, offset: int
) -> list[Step]:
    version = context.next_version + offset
    key = SigningKey(
        tenant_id=tenant_id,
        kid=new_key.kid,
        public_key=new_key.public_key,
        state=state,
        state_since_ms=context.now_ms,
        version=version,
        created_version=version,
        created_at_ms=context.stamp.time_ms,
        updated_at_ms=context.stamp.time_ms,
    )
    sealed = SealedKey(tenant_id, new_key.kid, new_key.public_key, new_key.kek_id, new_key.sealed)
    return [
        Step("SigningKey", key.key, None, key),
        Step(SEALED_KEYS, sealed.key, None, sealed),
    ]


def _gone(key: SigningKey, context: Context) -> list[Step]:
    sealed = context.store.tables[SEALED_KEYS].rows.get(key.key)
    private = [] if sealed is None else [Step(SEALED_KEYS, key.key, sealed, None)]
    return [Step("SigningKey", key.key, key, None), *private]


def _outcome(tenant_id: str, context: Context, steps: list[Step], kid: str) -> Outcome:
    return Outcome([*steps, *touched(tenant_id, context)], Done(id=kid))


def _existing(tenant_id: str, kid: str, context: Context) -> SigningKey:
    require_tenant(context, tenant_id)
    key: SigningKey | None = context.store.tables["SigningKey"].rows.get((tenant_id, kid))
    if key is None:
        raise NotFound(f"there is no signing key {kid!r} in the tenant {tenant_id!r}")
    return key


def _active(keys: list[SigningKey]) -> SigningKey | None:
    return next((one for one in keys if one.state == "active"), None)


def _new_key(context: Context) -> NewKey:
    if context.stamp.new_key is None:
        raise NotEnabled(_NO_KEK)
    return context.stamp.new_key


def _refused(reason: str, message: str, **more: int) -> KeyStateRefused:
    return KeyStateRefused(message, details={"reason": reason, **more})
