"""What the node that proposes a command puts on it."""

from __future__ import annotations

import pytest

from felix.actors.stamping import Stamping
from felix.proto import commands
from felix.proto.errors import NotEnabled
from felix.proto.identity import SealedKey
from felix.proto.rpc import PROTOCOL, Request
from tests.actors.signing_keys import sealer

NEED_A_KEY: list[commands.AnyCommand] = [
    commands.CreateTenant(tenant_id="acme"),
    commands.BootstrapTenant(tenant_id="acme", display_name="Acme"),
    commands.StageSigningKey(tenant_id="acme"),
    commands.RetireSigningKey(tenant_id="acme", kid="k", revoke=True),
]
NEED_NONE: list[commands.AnyCommand] = [
    commands.RetireSigningKey(tenant_id="acme", kid="k"),
    commands.ActivateSigningKey(tenant_id="acme", kid="k"),
    commands.DeleteTenant(tenant_id="acme"),
]


def request(command: commands.AnyCommand) -> Request:
    return Request(PROTOCOL, 1, 1000, command, idempotency_key="i", request_id="r", principal="p")


@pytest.mark.parametrize("command", NEED_A_KEY)
def test_a_command_that_may_need_a_key_gets_a_new_one_sealed_for_its_tenant(
    command: commands.AnyCommand,
) -> None:
    keks = sealer("kek")
    first, second = (Stamping(keks).stamp(request(command)).new_key for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.kid != second.kid
    assert keks.open(SealedKey("acme", first.kid, first.public_key, first.kek_id, first.sealed))


@pytest.mark.parametrize("command", NEED_NONE)
def test_a_command_that_needs_no_key_gets_none_and_needs_no_kek(
    command: commands.AnyCommand,
) -> None:
    for keks in (None, sealer("kek")):
        stamp = Stamping(keks).stamp(request(command))
        assert stamp.new_key is None
        assert (stamp.request_id, stamp.principal, stamp.idempotency_key) == ("r", "p", "i")


@pytest.mark.parametrize("command", NEED_A_KEY)
def test_without_a_kek_a_command_that_needs_a_key_is_refused(
    command: commands.AnyCommand,
) -> None:
    with pytest.raises(NotEnabled, match="no key-encryption key is configured"):
        Stamping(None).stamp(request(command))
