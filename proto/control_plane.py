"""The one way in, as its users see it: a `ControlPlane` that can be asked.

`felix.transport.rpc_client` asks a node over ZeroMQ; tests hand the HTTP app one that lives in the
same process.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from felix.proto import (
    brokers,
    cluster,
    commands,
    identity,
    placement_commands,
    queries,
    reports,
    resources,
    setting_commands,
    updates,
)
from felix.proto.commands import Deleted, FeatureLevel
from felix.proto.manifests import ManifestsApplied
from felix.proto.rpc import Answer, AnyRequest, Consistency

TIMEOUT_S_DEFAULT = 5.0


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask: everything about a request but what it says."""

    timeout_s: float = TIMEOUT_S_DEFAULT
    consistency: Consistency = "linearizable"
    idempotency_key: str | None = None
    request_id: str = ""
    principal: str = ""
    source: str = ""
    wants_acks: bool = False
    """Of a command: brokers are to say at once that they have the change."""


class Answered(msgspec.Struct, frozen=True):
    """What came back."""

    result: Answer
    version: int
    """Of the catalog: for a command the version at which it took effect."""
    age_ms: int = 0
    """How old a stale read may be."""


class ControlPlane(Protocol):
    """Something that answers commands and queries."""

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Ask and wait for the answer, at most `call.timeout_s`.

        Raises: any `felix.proto.errors.FelixError`; its `outcome` says what may be concluded.
        """
        ...


_ANSWERS: dict[type[AnyRequest], type] = {
    commands.CreateTenant: resources.Tenant,
    commands.UpdateTenant: resources.Tenant,
    commands.DeleteTenant: Deleted,
    commands.CreateNamespace: resources.Namespace,
    commands.UpdateNamespace: resources.Namespace,
    commands.DeleteNamespace: Deleted,
    commands.CreateStream: resources.Stream,
    commands.UpdateStream: resources.Stream,
    commands.DeleteStream: Deleted,
    commands.CreateCache: resources.Cache,
    commands.UpdateCache: resources.Cache,
    commands.DeleteCache: Deleted,
    commands.SetFeatureLevel: FeatureLevel,
    commands.BootstrapTenant: identity.Done,
    commands.PutIssuer: identity.Done,
    commands.DeleteIssuer: identity.Done,
    commands.ChangePolicies: identity.Done,
    commands.ChangeGroupings: identity.Done,
    commands.StageSigningKey: identity.Done,
    commands.ActivateSigningKey: identity.Done,
    commands.RetireSigningKey: identity.Done,
    commands.RewrapSigningKey: identity.Done,
    commands.GrantRefresh: identity.Done,
    commands.UseRefresh: identity.RefreshGrant,
    commands.RevokeTokens: identity.Done,
    commands.PutBrokerCredential: identity.Done,
    commands.DeleteBrokerCredential: identity.Done,
    commands.RecordRefusals: identity.Done,
    commands.ApplyManifests: ManifestsApplied,
    queries.GetTenant: resources.Tenant,
    queries.ListTenants: queries.Listing,
    queries.GetNamespace: resources.Namespace,
    queries.ListNamespaces: queries.Listing,
    queries.GetStream: resources.Stream,
    queries.ListStreams: queries.Listing,
    queries.GetCache: resources.Cache,
    queries.ListCaches: queries.Listing,
    queries.GetUsage: queries.Usage,
    queries.TryManifests: ManifestsApplied,
    queries.GetReportedUsage: brokers.ReportedUsage,
    queries.GetSnapshot: updates.SnapshotChunk,
    queries.WatchUpdates: updates.UpdateBatch,
    queries.GetFeedSnapshot: queries.FeedSnapshot,
    queries.GetFeedChanges: queries.FeedChanges,
    queries.GetCluster: queries.ClusterStatus,
    queries.GetBackup: queries.BackupPiece,
    queries.GetTenantIdentity: identity.IdentityView,
    queries.ListAllSigningKeys: identity.SigningKeyPage,
    queries.ListBrokerCredentials: identity.BrokerCredentials,
    queries.GetAudit: identity.AuditPage,
    queries.GetIssuerKeys: identity.Jwks,
    queries.ProbeIssuer: identity.IssuerProbe,
    placement_commands.RegisterBroker: resources.Broker,
    placement_commands.UpdateBroker: resources.Broker,
    placement_commands.DeregisterBroker: resources.Broker,
    placement_commands.ChangeBrokerStatus: resources.Broker,
    placement_commands.DrainBroker: resources.Broker,
    placement_commands.CancelDrain: resources.Broker,
    placement_commands.RemoveBroker: Deleted,
    placement_commands.PlaceShards: identity.Done,
    placement_commands.ChangeInSync: identity.Done,
    placement_commands.StartMoves: identity.Done,
    placement_commands.AdvanceMoves: identity.Done,
    placement_commands.CancelMoves: identity.Done,
    placement_commands.PausePlacement: identity.Done,
    placement_commands.ResumePlacement: identity.Done,
    placement_commands.AbandonShard: resources.ShardPlacement,
    placement_commands.UndeleteStream: resources.Stream,
    placement_commands.PurgeStream: Deleted,
    placement_commands.PutBridge: resources.Bridge,
    placement_commands.DeleteBridge: Deleted,
    setting_commands.PutSetting: resources.ClusterSetting,
    setting_commands.DeleteSetting: Deleted,
    setting_commands.PutFeatureFlag: resources.FeatureFlag,
    setting_commands.DeleteFeatureFlag: Deleted,
    queries.ListSettings: queries.Listing,
    queries.GetSetting: resources.ClusterSetting,
    queries.ListFeatureFlags: queries.Listing,
    queries.GetFeatureFlag: resources.FeatureFlag,
    queries.GetBroker: resources.Broker,
    queries.ListBrokers: queries.Listing,
    queries.GetPlacement: resources.ShardPlacement,
    queries.ListPlacements: queries.Listing,
    queries.ListBridges: queries.Listing,
    queries.GetBridge: resources.Bridge,
    queries.ListShardMoves: brokers.ShardMoves,
    queries.GetPlacementPlan: brokers.PlacementPlan,
    queries.PlanRebalance: brokers.PlacementPlan,
    queries.GetBrokersHealth: brokers.BrokersHealth,
    queries.WaitForBrokers: brokers.AppliedBy,
    reports.ReportHealth: brokers.HealthAck,
    reports.ReportApplied: brokers.HealthAck,
    cluster.AddMember: queries.ClusterStatus,
    cluster.UpdateMember: queries.ClusterStatus,
    cluster.RemoveMember: queries.ClusterStatus,
    cluster.TransferLeadership: queries.ClusterStatus,
}


def answer_type(message: AnyRequest) -> type:
    """Name the type of the answer to a message."""
    return _ANSWERS[type(message)]


def answer_types() -> dict[type[AnyRequest], type]:
    """List the type of the answer to each type of message."""
    return dict(_ANSWERS)
