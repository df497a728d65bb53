"""Commands about brokers, placement, shards, their moves, and bridges."""

from __future__ import annotations

from typing import Final

from felix.cli.admin.command import Command, Spelling

BROKERS: Final = (
    "NAME=broker.broker_id", "STATUS=broker.status", "REGION=broker.region",
    "ZONE=broker.availability_zone", "COPIES=health.copies", "LEADS=health.leads",
    "LAG=health.lag_versions", "HEARD MS AGO=health.heard_ms_ago", "ADDRESS=broker.address",
    "NO SHARDS BECAUSE=health.why_not",
)  # fmt: skip
PLACEMENTS: Final = (
    "TENANT=tenant_id", "NAMESPACE=namespace", "STREAM=stream", "SHARDS=placements",
    "VERSION=version", "UPDATED=updated_at",
)  # fmt: skip
SHARDS: Final = (
    "SHARD=shard_id", "LEADER=leader", "REPLICAS=replicas", "IN SYNC=in_sync",
    "GENERATION=generation", "FENCED=is_fenced", "WHY=reason",
)  # fmt: skip
MOVES: Final = (
    "MOVE=move_id", "PLAN=plan_id", "STREAM=stream", "SHARD=shard_id", "KIND=kind",
    "FROM=from_broker", "TO=to_broker", "BECAUSE=reason", "STATUS=status", "SINCE=since",
    "BLOCKED BY=blocked_by",
)  # fmt: skip
BRIDGES: Final = ("NAME=name", "FROM=source_region", "TO=target_region", "STREAMS=streams",
                  "KEY=encryption_key_id", "VERSION=version")  # fmt: skip
_STREAM: Final = {"stream": Spelling("--stream", "Stream.", metavar="NAME")}

BROKER_COMMANDS: Final = (
    Command(name="broker list", operation="list_brokers", columns=BROKERS),
    Command(name="broker get", operation="get_broker", own="broker_id"),
    Command(name="broker register", operation="register_broker", own="broker_id"),
    Command(name="broker update", operation="update_broker", own="broker_id"),
    Command(
        name="broker remove",
        operation="remove_broker",
        own="broker_id",
        destroys="Broker {broker_id} is forgotten; with --abandon, what only it held is lost",
        done="broker {broker_id} is forgotten",
    ),
    Command(name="broker drain", operation="drain_broker", own="broker_id", follows="drain"),
    Command(name="broker undrain", operation="cancel_drain", own="broker_id"),
    Command(
        name="broker deregister",
        operation="deregister_broker",
        own="broker_id",
        destroys="Broker {broker_id} counts as down at once",
    ),
    Command(name="placement list", operation="list_placements", columns=PLACEMENTS),
    Command(
        name="placement get",
        operation="get_placement",
        own="stream",
        columns=SHARDS,
        rows="placements",
    ),
    Command(name="placement plan", operation="get_placement_plan"),
    Command(name="placement rebalance", operation="rebalance", follows="moves"),
    Command(
        name="placement cancel",
        operation="cancel_plan",
        own="plan_id",
        done="what of plan {plan_id} was not over is taken back",
    ),
    Command(name="placement pause", operation="pause_placement", done="placement is paused"),
    Command(name="placement resume", operation="resume_placement", done="placement goes on"),
    Command(name="stream rebalance", operation="rebalance_stream", own="stream", follows="moves"),
    Command(
        name="shard move",
        operation="move_shard",
        own="shard_id",
        spelled={"kind": Spelling("--kind", "A copy moves, or leadership only."), **_STREAM},
        follows="moves",
    ),
    Command(
        name="shard transfer",
        operation="transfer_shard",
        own="shard_id",
        spelled=_STREAM,
        follows="moves",
    ),
    Command(
        name="shard abandon",
        operation="abandon_shard",
        own="shard_id",
        spelled=_STREAM,
        columns=SHARDS,
        rows="placements",
        destroys="What only unreachable copies of shard {shard_id} of "
        "{tenant_id}/{namespace}/{stream} hold is lost",
    ),
    Command(name="move list", operation="list_shard_moves", columns=MOVES),
    Command(
        name="move cancel",
        operation="cancel_shard_move",
        own="move_id",
        done="move {move_id} goes back to where it started",
    ),
    Command(name="bridge list", operation="list_bridges", columns=BRIDGES),
    Command(name="bridge get", operation="get_bridge", own="bridge"),
    Command(name="bridge set", operation="put_bridge", own="bridge"),
    Command(
        name="bridge delete",
        operation="delete_bridge",
        own="bridge",
        destroys="Bridge {bridge} is forgotten; copies behind it are given up",
        done="bridge {bridge} is forgotten",
    ),
)
