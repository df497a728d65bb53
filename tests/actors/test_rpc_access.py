"""Who may send what over RPC: every message there is, and every role."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from felix.actors import rpc_access
from felix.actors.rpc_access import FOR_ITSELF, MAY
from felix.proto.cluster import AnyOperation, Operation, RemoveMember, UpdateMember
from felix.proto.command import Command
from felix.proto.commands import (
    AnyCommand,
    BootstrapTenant,
    CreateTenant,
    DeleteTenant,
    DescribeBroker,
    GrantRefresh,
    RecordRefusals,
    RewrapSigningKey,
    UseRefresh,
)
from felix.proto.errors import (
    FelixError,
    Forbidden,
    MembershipRefused,
    NoLeader,
    NotFound,
    OutcomeUnknown,
    Unauthorized,
    ValidationFailed,
)
from felix.proto.placement_commands import (
    AdvanceMoves,
    ChangeBrokerStatus,
    ChangeInSync,
    PlaceShards,
)
from felix.proto.queries import (
    AnyQuery,
    GetCluster,
    GetIssuerKeys,
    GetSnapshot,
    GetTenant,
    GetTenantIdentity,
    ListAllSigningKeys,
    ListBrokerCredentials,
    ProbeIssuer,
    Query,
    WatchUpdates,
)
from felix.proto.reports import AnyReport
from felix.proto.rpc import PROTOCOL, AnyRequest, Request
from felix.transport.allow_list import Owner
from felix.transport.rpc_server import Incoming, RpcCaller

MESSAGES = (
    *get_args(AnyCommand),
    *get_args(AnyQuery),
    *get_args(AnyOperation),
    *get_args(AnyReport),
)
BROKERS_MAY = {GetSnapshot, WatchUpdates, GetCluster, *FOR_ITSELF}
ONLY_NODES_MAY = {
    ChangeBrokerStatus,
    PlaceShards,
    ChangeInSync,
    AdvanceMoves,
    BootstrapTenant, RewrapSigningKey, GrantRefresh, UseRefresh, RecordRefusals, UpdateMember,
    GetTenantIdentity, ListAllSigningKeys, ListBrokerCredentials, GetIssuerKeys, ProbeIssuer,
}  # fmt: skip
OLGA, BEN, NODE = Owner("admin", "olga"), Owner("broker", "ben"), Owner("node", "n1")


class _Tomorrow(Command, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A command that nobody has thought about yet."""


def incoming(message: AnyRequest | _Tomorrow, owner: Owner | None) -> Incoming:
    request = Request(PROTOCOL, 1, 1000, message, principal="who it says")  # type: ignore[arg-type]  # a command of a later build
    return Incoming((b"route",), request, RpcCaller(owner, "192.0.2.7", "k" * 40))


def test_every_command_query_and_operation_stands_in_the_table_and_nothing_else() -> None:
    assert set(MAY) == set(MESSAGES)


def test_what_is_not_in_the_union_of_messages_does_not_hide_as_a_class() -> None:
    for base in (Command, Query, Operation):
        leaves = {one for one in _below(base) if not one.__subclasses__()} - {
            _Tomorrow,
            DescribeBroker,
        }  # part of a set
        assert leaves <= set(MESSAGES)


def _below(base: type) -> set[type]:
    found: set[type] = set(base.__subclasses__())
    return found.union(*(_below(one) for one in found)) if found else found


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_broker_reads_the_metadata_and_an_operator_sends_nothing_internal(
    kind: type[msgspec.Struct],
) -> None:
    roles = MAY[kind]
    assert "node" in roles
    assert ("broker" in roles) == (kind in BROKERS_MAY)
    assert ("admin" in roles) == (kind not in ONLY_NODES_MAY)


@pytest.mark.parametrize("owner", [NODE, OLGA, BEN])
def test_a_message_that_nobody_has_thought_about_is_refused_to_all(owner: Owner) -> None:
    with pytest.raises(Forbidden):
        rpc_access.admit(incoming(_Tomorrow(), owner))


@pytest.mark.parametrize(
    "message",
    [
        RecordRefusals(node="n1", refusals=()),
        GetTenantIdentity(tenant_id="acme"),
        ListAllSigningKeys(),
        ListBrokerCredentials(),
        UseRefresh(
            tenant_id="acme", grant_id="g", secret_hash=b"", next_id="h", next_secret_hash=b""
        ),
    ],
)
def test_what_nodes_say_to_each_other_is_refused_to_an_operator(message: AnyRequest) -> None:
    with pytest.raises(Forbidden, match=type(message).__name__):
        rpc_access.admit(incoming(message, OLGA))
    sent = incoming(message, NODE)
    assert rpc_access.admit(sent) is sent


NOT_THERE, ODD = NotFound("no"), ValidationFailed("no")


@pytest.mark.parametrize(
    ("message", "owner", "error", "is_noted"),
    [
        (CreateTenant(tenant_id="t"), BEN, Forbidden("no"), True),
        (GetTenant(tenant_id="t"), BEN, Forbidden("no"), True),
        (GetCluster(), None, Unauthorized("no"), True),
        (CreateTenant(tenant_id="t"), OLGA, ODD, True),
        (RemoveMember(member="n1"), OLGA, MembershipRefused("no"), True),
        (GetTenant(tenant_id="t"), OLGA, NOT_THERE, False),
        (CreateTenant(tenant_id="t"), OLGA, NoLeader("no", retry_after_ms=1), False),
        (CreateTenant(tenant_id="t"), OLGA, OutcomeUnknown("no"), False),
        (CreateTenant(tenant_id="t"), NODE, ODD, False),
        (RemoveMember(member="n1"), NODE, MembershipRefused("no"), False),
    ],
)
def test_what_was_refused_is_noted_unless_it_was_only_not_possible_now_or_others_note_it(
    message: AnyRequest, owner: Owner | None, error: FelixError, is_noted: bool
) -> None:
    assert rpc_access.is_noted(incoming(message, owner), error) is is_noted


def test_what_was_refused_when_it_was_applied_is_in_the_trail_already() -> None:
    sent = incoming(DeleteTenant(tenant_id="t"), OLGA)
    assert not rpc_access.is_noted(sent, NOT_THERE, is_proposed=True)
    assert rpc_access.is_noted(sent, ODD, is_proposed=True)


def test_nothing_is_noted_of_who_asks_over_the_socket_of_this_machine() -> None:
    request = Request(PROTOCOL, 1, 1000, CreateTenant(tenant_id="t"))
    assert not rpc_access.is_noted(Incoming((b"route",), request), ODD)


def test_a_key_that_is_not_known_is_named_in_the_trail_by_how_it_begins() -> None:
    sent = rpc_access.in_the_name_of_its_owner(incoming(GetCluster(), None))
    assert (sent.request.principal, sent.request.source) == ("", "192.0.2.7")
    assert rpc_access.reason_of(sent, Unauthorized("not known")) == "not known: kkkkkkkk..."
    assert rpc_access.reason_of(incoming(GetCluster(), BEN), ODD) == "no"
