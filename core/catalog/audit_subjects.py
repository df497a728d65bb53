"""What a command is about, in the words of the audit trail. Secrets and keys stay out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from felix.core.catalog.broker_changes import id_of
from felix.core.catalog.manifests import key_of, kind_of
from felix.proto.command import Command
from felix.proto.commands import (
    ActivateSigningKey,
    AnyCommand,
    ApplyManifests,
    BootstrapTenant,
    ChangeGroupings,
    ChangePolicies,
    CreateCache,
    CreateNamespace,
    CreateStream,
    CreateTenant,
    DeleteBrokerCredential,
    DeleteCache,
    DeleteIssuer,
    DeleteNamespace,
    DeleteStream,
    DeleteTenant,
    DescribeBroker,
    GrantRefresh,
    PutBrokerCredential,
    PutIssuer,
    RecordRefusals,
    RetireSigningKey,
    RevokeTokens,
    RewrapSigningKey,
    SetFeatureLevel,
    StageSigningKey,
    Stamp,
    UpdateCache,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
    UseRefresh,
)
from felix.proto.placement_commands import (
    AbandonShard,
    AdvanceMoves,
    CancelDrain,
    CancelMoves,
    ChangeBrokerStatus,
    ChangeInSync,
    DeleteBridge,
    DeregisterBroker,
    DrainBroker,
    PausePlacement,
    PlaceShards,
    PurgeStream,
    PutBridge,
    RegisterBroker,
    RemoveBroker,
    ResumePlacement,
    StartMoves,
    UndeleteStream,
    UpdateBroker,
)
from felix.proto.setting_commands import (
    DeleteFeatureFlag,
    DeleteSetting,
    PutFeatureFlag,
    PutSetting,
)

GRANT_CHARS: Final = 12
"""Enough of a grant's id to follow it, too little to use it."""
CHANGES_SHOWN_MAX: Final = 8

Subject: TypeAlias = tuple[str, str, str]
"""Tenant, namespace, and kind and name; empty where there is none."""


def subject_of(command: AnyCommand | DescribeBroker, stamp: Stamp) -> Subject:
    """Say what a command is about."""
    return _SUBJECTS[type(command)](command, stamp)


def _tenant(command: Any, _stamp: Stamp) -> Subject:
    tenant_id = command.tenant_id
    return tenant_id, "", "tenant:" + tenant_id


def _namespace(command: Any, _stamp: Stamp) -> Subject:
    return command.tenant_id, command.namespace, "namespace:" + command.namespace


def _stream(command: Any, _stamp: Stamp) -> Subject:
    return command.tenant_id, command.namespace, "stream:" + command.stream


def _cache(command: Any, _stamp: Stamp) -> Subject:
    return command.tenant_id, command.namespace, "cache:" + command.cache


def _new_issuer(command: PutIssuer, _stamp: Stamp) -> Subject:
    return command.tenant_id, "", "issuer:" + command.issuer.issuer


def _issuer(command: DeleteIssuer, _stamp: Stamp) -> Subject:
    return command.tenant_id, "", "issuer:" + command.issuer


def _policies(command: ChangePolicies, _stamp: Stamp) -> Subject:
    changes = [f"+{one.subject} {one.action} {one.object}" for one in command.add]
    changes += [f"-{one.subject} {one.action} {one.object}" for one in command.remove]
    return command.tenant_id, "", "policy:" + _listed(changes)


def _groupings(command: ChangeGroupings, _stamp: Stamp) -> Subject:
    changes = [f"+{one.user} {one.role}" for one in command.add]
    changes += [f"-{one.user} {one.role}" for one in command.remove]
    return command.tenant_id, "", "grouping:" + _listed(changes)


def _listed(changes: list[str]) -> str:
    """Write the first changes down, behind their number where there are more than these."""
    shown = ", ".join(changes[:CHANGES_SHOWN_MAX])
    return shown if len(changes) <= CHANGES_SHOWN_MAX else f"{len(changes)} changes, {shown}"


def _new_key(command: StageSigningKey, stamp: Stamp) -> Subject:
    return command.tenant_id, "", "key:" + (stamp.new_key.kid if stamp.new_key else "")


def _key(command: Any, _stamp: Stamp) -> Subject:
    return command.tenant_id, "", "key:" + command.kid


def _new_grant(command: GrantRefresh, _stamp: Stamp) -> Subject:
    return command.grant.tenant_id, "", "grant:" + command.grant.grant_id[:GRANT_CHARS]


def _grant(command: UseRefresh, _stamp: Stamp) -> Subject:
    return command.tenant_id, "", "grant:" + command.grant_id[:GRANT_CHARS]


def _principal(command: RevokeTokens, _stamp: Stamp) -> Subject:
    return command.tenant_id, "", "principal:" + command.principal


def _broker(command: Any, _stamp: Stamp) -> Subject:
    return "", "", "broker:" + command.broker_id


def _new_broker(command: RegisterBroker, _stamp: Stamp) -> Subject:
    return "", "", "broker:" + id_of(command)


def _status(command: ChangeBrokerStatus, _stamp: Stamp) -> Subject:
    change = f"{command.from_status} -> {command.to_status}"
    why = f", {command.reason}" if command.reason else ""
    return "", "", f"broker:{command.broker_id} {change}{why}"


def _shard(command: AbandonShard, _stamp: Stamp) -> Subject:
    stream = command.stream
    return stream.tenant_id, stream.namespace, f"shard:{stream.stream}/{command.shard_id}"


def _placements(command: PlaceShards, _stamp: Stamp) -> Subject:
    return "", "", "placement:" + _listed(["/".join(one.stream.key) for one in command.items])


def _in_sync(command: ChangeInSync, _stamp: Stamp) -> Subject:
    changes = [
        f"{'/'.join(one.stream.key)}/{one.shard_id} {','.join(one.in_sync)}"
        for one in command.items
    ]
    return "", "", "in_sync:" + _listed(changes)


def _plan(command: StartMoves, _stamp: Stamp) -> Subject:
    moves = [
        f"{'/'.join(one.stream.key)}/{one.shard_id} {one.kind} {one.from_broker}->{one.to_broker}"
        for one in command.plan.moves
    ]
    return "", "", f"plan:{command.plan.reason} {_listed(moves)}"


def _steps(command: AdvanceMoves, _stamp: Stamp) -> Subject:
    steps = [f"{one.move_id} {one.from_step}->{one.to_step}" for one in command.items]
    return "", "", "move:" + _listed(steps)


def _moves(command: CancelMoves, _stamp: Stamp) -> Subject:
    what = f"plan:{command.plan_id}" if command.plan_id else f"move:{command.move_id}"
    return "", "", what


def _whole_placement(_command: Any, _stamp: Stamp) -> Subject:
    return "", "", "placement:"


def _bridge(command: Any, _stamp: Stamp) -> Subject:
    return "", "", "bridge:" + command.name


def _setting(command: Any, _stamp: Stamp) -> Subject:
    return "", "", "setting:" + command.name


def _new_setting(command: PutSetting, _stamp: Stamp) -> Subject:
    return "", "", f"setting:{command.name} {msgspec.json.encode(command.value).decode()}"


def _new_flag(command: PutFeatureFlag, _stamp: Stamp) -> Subject:
    return "", "", f"flag:{command.name} {'on' if command.enabled else 'off'}"


def _flag(command: Any, _stamp: Stamp) -> Subject:
    return "", "", "flag:" + command.name


def _node(command: RecordRefusals, _stamp: Stamp) -> Subject:
    return "", "", "node:" + command.node


def _level(command: SetFeatureLevel, _stamp: Stamp) -> Subject:
    return "", "", f"level:{command.level}"


def _set(command: ApplyManifests, _stamp: Stamp) -> Subject:
    names = [f"{kind_of(one.wanted)} {'/'.join(key_of(one.wanted))}" for one in command.documents]
    return "", "", "manifests:" + _listed(names)


_SUBJECTS: Final[dict[type[Command], Callable[[Any, Stamp], Subject]]] = {
    CreateTenant: _tenant,
    UpdateTenant: _tenant,
    DeleteTenant: _tenant,
    CreateNamespace: _namespace,
    UpdateNamespace: _namespace,
    DeleteNamespace: _namespace,
    CreateStream: _stream,
    UpdateStream: _stream,
    DeleteStream: _stream,
    CreateCache: _cache,
    UpdateCache: _cache,
    DeleteCache: _cache,
    SetFeatureLevel: _level,
    BootstrapTenant: _tenant,
    PutIssuer: _new_issuer,
    DeleteIssuer: _issuer,
    ChangePolicies: _policies,
    ChangeGroupings: _groupings,
    StageSigningKey: _new_key,
    ActivateSigningKey: _key,
    RetireSigningKey: _key,
    RewrapSigningKey: _key,
    GrantRefresh: _new_grant,
    UseRefresh: _grant,
    RevokeTokens: _principal,
    PutBrokerCredential: _broker,
    DeleteBrokerCredential: _broker,
    RecordRefusals: _node,
    ApplyManifests: _set,
    DescribeBroker: _broker,
    RegisterBroker: _new_broker,
    UpdateBroker: _broker,
    DeregisterBroker: _broker,
    ChangeBrokerStatus: _status,
    DrainBroker: _broker,
    CancelDrain: _broker,
    RemoveBroker: _broker,
    PlaceShards: _placements,
    ChangeInSync: _in_sync,
    StartMoves: _plan,
    AdvanceMoves: _steps,
    CancelMoves: _moves,
    PausePlacement: _whole_placement,
    ResumePlacement: _whole_placement,
    AbandonShard: _shard,
    UndeleteStream: _stream,
    PurgeStream: _stream,
    PutBridge: _bridge,
    DeleteBridge: _bridge,
    PutSetting: _new_setting,
    DeleteSetting: _setting,
    PutFeatureFlag: _new_flag,
    DeleteFeatureFlag: _flag,
}
