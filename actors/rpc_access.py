"""What the owner of a CURVE key may ask over RPC, in whose name, and what is noted of a refusal.

Who asks over the socket of this machine, an HTTP process above all, is trusted and not asked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from felix.core.catalog.broker_changes import id_of
from felix.proto import (
    cluster,
    commands,
    placement_commands,
    queries,
    reports,
    setting_commands,
)
from felix.proto.cluster import Operation
from felix.proto.command import Command
from felix.proto.errors import DECIDED_AT_APPLY, FelixError, Forbidden, Unauthorized
from felix.proto.placement_commands import RegisterBroker
from felix.proto.rpc import AnyRequest
from felix.transport.curve import Role
from felix.transport.rpc_server import Incoming

Roles: TypeAlias = frozenset[Role]

ANYBODY: Final[Roles] = frozenset({"node", "admin", "broker"})
"""The metadata that brokers live on, and who serves it."""
OPERATORS: Final[Roles] = frozenset({"node", "admin"})
"""What an operator may do over HTTP as well."""
NODES: Final[Roles] = frozenset({"node"})
"""What the parts of the control plane say to each other: it carries private keys and hashes of
passwords, vouches for what others have done, or takes the word of whoever sends it for a proof that
an HTTP process has seen. A node passes on what its own HTTP processes ask."""

MAY: Final[Mapping[type[msgspec.Struct], Roles]] = {
    commands.CreateTenant: OPERATORS,
    commands.UpdateTenant: OPERATORS,
    commands.DeleteTenant: OPERATORS,
    commands.CreateNamespace: OPERATORS,
    commands.UpdateNamespace: OPERATORS,
    commands.DeleteNamespace: OPERATORS,
    commands.CreateStream: OPERATORS,
    commands.UpdateStream: OPERATORS,
    commands.DeleteStream: OPERATORS,
    commands.CreateCache: OPERATORS,
    commands.UpdateCache: OPERATORS,
    commands.DeleteCache: OPERATORS,
    commands.SetFeatureLevel: OPERATORS,
    commands.PutIssuer: OPERATORS,
    commands.DeleteIssuer: OPERATORS,
    commands.ChangePolicies: OPERATORS,
    commands.ChangeGroupings: OPERATORS,
    commands.StageSigningKey: OPERATORS,
    commands.ActivateSigningKey: OPERATORS,
    commands.RetireSigningKey: OPERATORS,
    commands.RevokeTokens: OPERATORS,
    commands.PutBrokerCredential: OPERATORS,
    commands.DeleteBrokerCredential: OPERATORS,
    commands.BootstrapTenant: NODES,  # whoever shows the bootstrap token, at its own listener
    commands.RewrapSigningKey: NODES,
    commands.GrantRefresh: NODES,
    commands.UseRefresh: NODES,
    commands.RecordRefusals: NODES,
    cluster.AddMember: OPERATORS,
    cluster.RemoveMember: OPERATORS,
    cluster.TransferLeadership: OPERATORS,
    cluster.UpdateMember: NODES,
    queries.GetTenant: OPERATORS,
    queries.ListTenants: OPERATORS,
    queries.GetNamespace: OPERATORS,
    queries.ListNamespaces: OPERATORS,
    queries.GetStream: OPERATORS,
    queries.ListStreams: OPERATORS,
    queries.GetCache: OPERATORS,
    queries.ListCaches: OPERATORS,
    queries.GetUsage: OPERATORS,
    queries.TryManifests: OPERATORS,
    queries.GetReportedUsage: OPERATORS,
    queries.GetFeedSnapshot: OPERATORS,
    queries.GetFeedChanges: OPERATORS,
    queries.GetAudit: OPERATORS,
    queries.GetBackup: OPERATORS,  # private keys are encrypted in it, and it is the only way to one
    queries.GetSnapshot: ANYBODY,
    queries.WatchUpdates: ANYBODY,
    queries.GetCluster: ANYBODY,
    queries.GetTenantIdentity: NODES,
    queries.ListAllSigningKeys: NODES,
    queries.ListBrokerCredentials: NODES,
    queries.GetIssuerKeys: NODES,
    placement_commands.UpdateBroker: OPERATORS,
    placement_commands.CancelDrain: OPERATORS,
    placement_commands.RemoveBroker: OPERATORS,
    placement_commands.StartMoves: OPERATORS,
    placement_commands.CancelMoves: OPERATORS,
    placement_commands.PausePlacement: OPERATORS,
    placement_commands.ResumePlacement: OPERATORS,
    placement_commands.AbandonShard: OPERATORS,
    placement_commands.UndeleteStream: OPERATORS,
    placement_commands.PurgeStream: OPERATORS,
    commands.ApplyManifests: OPERATORS,
    placement_commands.PutBridge: OPERATORS,
    placement_commands.DeleteBridge: OPERATORS,
    placement_commands.RegisterBroker: ANYBODY,  # a broker only itself
    placement_commands.DeregisterBroker: ANYBODY,  # a broker only itself
    placement_commands.DrainBroker: ANYBODY,  # a broker only itself
    reports.ReportHealth: ANYBODY,  # a broker only itself
    reports.ReportApplied: ANYBODY,  # a broker only itself
    placement_commands.ChangeBrokerStatus: NODES,  # what the leader decides
    placement_commands.PlaceShards: NODES,  # what the leader decides
    placement_commands.ChangeInSync: NODES,  # what the leader decides
    placement_commands.AdvanceMoves: NODES,  # what the leader decides
    setting_commands.PutSetting: OPERATORS,
    setting_commands.DeleteSetting: OPERATORS,
    setting_commands.PutFeatureFlag: OPERATORS,
    setting_commands.DeleteFeatureFlag: OPERATORS,
    queries.ListSettings: OPERATORS,
    queries.GetSetting: OPERATORS,
    queries.ListFeatureFlags: OPERATORS,
    queries.GetFeatureFlag: OPERATORS,
    queries.GetBroker: OPERATORS,
    queries.ListBrokers: OPERATORS,
    queries.GetPlacement: OPERATORS,
    queries.ListPlacements: OPERATORS,
    queries.ListBridges: OPERATORS,
    queries.GetBridge: OPERATORS,
    queries.ListShardMoves: OPERATORS,
    queries.GetPlacementPlan: OPERATORS,
    queries.PlanRebalance: OPERATORS,
    queries.GetBrokersHealth: OPERATORS,
    queries.WaitForBrokers: OPERATORS,
    queries.ProbeIssuer: NODES,  # it makes a node ask wherever the caller wants
}
"""Which roles may send what. What is not in here nobody may send: a new message is closed until
somebody has thought about it."""

FOR_ITSELF: Final = frozenset({
    placement_commands.RegisterBroker, placement_commands.DeregisterBroker,
    placement_commands.DrainBroker, reports.ReportHealth, reports.ReportApplied,
})  # fmt: skip
"""What a broker's key is good for where the message is about that broker."""

KEY_CHARACTERS_SHOWN: Final = 8


def admit(incoming: Incoming) -> Incoming:
    """Let a request that came encrypted in, or not. Raises: Unauthorized, Forbidden.

    A node speaks for those who asked it; everybody else speaks for the owner of the key, whatever
    the request says.
    """
    caller = incoming.caller
    if caller is None or caller.owner is None:
        raise Unauthorized("this key is not known here")
    role = caller.owner.role
    message = type(incoming.request.message)
    if role not in MAY.get(message, ()):
        if role == "broker":
            raise Forbidden(
                "a broker may read the metadata and speak for itself over this socket, no more"
            )
        raise Forbidden(f"{message.__name__} is not for this key")
    if role == "broker" and message in FOR_ITSELF:
        _check_itself(caller.owner.name, incoming.request.message)
    return incoming if role == "node" else in_the_name_of_its_owner(incoming)


def _check_itself(name: str, message: AnyRequest) -> None:
    """Raises: Forbidden."""
    about = id_of(message) if isinstance(message, RegisterBroker) else message.broker_id  # type: ignore[union-attr]  # all of `FOR_ITSELF` have one
    if about != name:
        raise Forbidden(f"this key is that of the broker {name!r}: it does not speak for {about!r}")


def in_the_name_of_its_owner(incoming: Incoming) -> Incoming:
    """Say who sent a request, and from where, whatever itself says."""
    caller = incoming.caller
    assert caller is not None
    principal = ""
    if caller.owner is not None:
        prefix = "key" if caller.owner.role == "admin" else caller.owner.role
        principal = f"{prefix}:{caller.owner.name}"
    request = msgspec.structs.replace(incoming.request, principal=principal, source=caller.address)
    return msgspec.structs.replace(incoming, request=request)


def reason_of(incoming: Incoming, error: FelixError) -> str:
    """Give the trail what helps to find the one who was refused, and the caller need not hear."""
    caller = incoming.caller
    if caller is not None and caller.owner is None:
        return f"{error.message}: {caller.key[:KEY_CHARACTERS_SHOWN]}..."
    return error.message


def is_noted(incoming: Incoming, error: FelixError, *, is_proposed: bool = False) -> bool:
    """Tell whether the trail must be told of a refusal, since nobody else tells it.

    What an HTTP process or another node passed on, it notes itself. What was only not possible now
    is not refused; nor is a question that has no answer. A command that `is_proposed` has left its
    own record if it was refused when it was applied.
    """
    caller = incoming.caller
    if caller is None or (caller.owner is not None and caller.owner.role == "node"):
        return False
    if is_proposed and error.code in DECIDED_AT_APPLY:
        return False
    if isinstance(error, Unauthorized | Forbidden):
        return True
    is_not_now = error.outcome == "unknown" or error.retry_after_ms is not None
    return isinstance(incoming.request.message, Command | Operation) and not is_not_now
