"""How members of requests are written on the command line, whatever the command."""

from __future__ import annotations

from typing import Final

from felix.cli.admin.command import Spelling

SPELLINGS: Final[dict[str, Spelling]] = {
    # fields of paths, and members that name things
    "tenant_id": Spelling("-t --tenant", "Tenant.", metavar="NAME"),
    "namespace": Spelling("-n --namespace", "Namespace.", metavar="NAME"),
    "stream": Spelling("--stream --name", "Stream.", metavar="NAME"),
    "cache": Spelling("--cache --name", "Cache.", metavar="NAME"),
    "broker_id": Spelling("--broker", "Broker.", metavar="NAME"),
    "bridge": Spelling("--bridge", "Bridge.", metavar="NAME"),
    "region_id": Spelling("--region", "Region.", metavar="NAME"),
    "shard_id": Spelling("--shard", "Number of the shard, from 0.", "integer", "N"),
    "move_id": Spelling("--move", "Move, as `move list` names it.", metavar="ID"),
    "plan_id": Spelling("--plan", "Plan, as `move list` names it.", metavar="ID"),
    "issuer": Spelling("--issuer", "Issuer, or its short id.", metavar="URL"),
    "kid": Spelling("--kid", "Signing key.", metavar="KID"),
    "member": Spelling("--member", "Member, by name or identity.", metavar="NAME"),
    "principal": Spelling("--principal", "Principal id, group or role.", metavar="ID"),
    # what things are
    "display_name": Spelling("--display-name", "Name for people.  [default: its name]"),
    "description": Spelling("--description", "What it is for."),
    "quotas.max_streams": Spelling("--max-streams", "At most so many streams."),
    "quotas.max_publish_rate": Spelling("--max-publish-rate", "Messages a second."),
    "quotas.max_subscribe_connections": Spelling("--max-connections", "Of subscribers."),
    "quotas.max_storage_bytes": Spelling("--max-storage", "As in 1TB.", "size", "SIZE"),
    "quotas.max_cache_memory": Spelling("--max-cache-memory", "As in 10GB.", "size", "SIZE"),
    "encryption.key_id": Spelling("--encryption-key", "Key that encrypts its data.", metavar="ID"),
    "encryption.rotation_period_seconds": Spelling(
        "--rotation", "How often that key is replaced: 90d.", "duration", "TIME"
    ),
    "setting": Spelling("--setting", "Setting, as `config list` names it.", metavar="NAME"),
    "flag": Spelling("--flag", "Feature flag.", metavar="NAME"),
    "regions": Spelling("--region", "Region that it is kept in; repeated. [default: all]",
                        metavar="NAME"),
    "shards": Spelling("--shards", "Number of shards; it stays.", metavar="N"),
    "retention.max_age_seconds": Spelling(
        "--retention", "How long messages are kept: 7d; none is without limit.", "duration", "TIME"
    ),
    "retention.max_size_bytes": Spelling(
        "--retention-size", "How much of them is kept: 100GB; none is without limit.", "size",
        "SIZE",
    ),
    "durability": Spelling("--durability", "On disk, or in memory only."),
    "replication_factor": Spelling("--replication", "Copies of every shard.", metavar="N"),
    "ack_policy": Spelling("--ack-policy", "Whose copy makes a message acknowledged."),
    "kind": Spelling("--kind", "What it is."),
    "delivery": Spelling("--delivery", "What subscribers get."),
    # brokers and placement
    "address": Spelling("--address", "Where clients reach it.", metavar="HOST:PORT"),
    "boot_id": Spelling("--boot-id", "Random, new with every start.", metavar="ID"),
    "broker_epoch": Spelling("--epoch", "Which start of it is meant.", metavar="N"),
    "region": Spelling("--region", "Region.", metavar="NAME"),
    "availability_zone": Spelling("--zone", "Availability zone.", metavar="NAME"),
    "capacity.max_shards": Spelling("--max-shards", "Copies of shards that it takes."),
    "capacity.max_connections": Spelling("--max-connections", "Connections that it takes."),
    "metadata": Spelling("--metadata", "May be repeated.", "pairs", "NAME=VALUE"),
    "strategy": Spelling("--strategy", "What the spread is to be good for."),
    "dry_run": Spelling("--dry-run", "Change nothing, and say what would be done.", "flag"),
    "base_version": Spelling("--base-version", "Version of the plan that you looked at: refuse if "
                             "it would be another one now.", metavar="N"),
    "target_broker": Spelling("--to", "Broker that is to lead.", metavar="NAME"),
    "to_broker": Spelling("--to", "Broker that gets the copy.", metavar="NAME"),
    "from_broker": Spelling("--from", "Broker that gives it up; without: one copy more.",
                            metavar="NAME"),
    "reason": Spelling("--reason", "Why, for whoever looks."),
    "source_region": Spelling("--from-region", "Where the streams live.", metavar="NAME"),
    "target_region": Spelling("--to-region", "Where copies may live, too.", metavar="NAME"),
    "streams": Spelling("--stream", "As in tenant/namespace/stream; may be repeated.", "streams",
                        "PATH"),
    "encryption_key_id": Spelling("--encryption-key", "Key between the regions.", metavar="ID"),
    "abandon": Spelling("--abandon", "Also with copies: what only it held is lost.", "flag"),
    "broker": Spelling("--broker", "Only what has to do with this broker.", metavar="NAME"),
    "plan": Spelling("--plan", "Only the moves of this plan.", metavar="ID"),
    "incomplete": Spelling("--incomplete", "Only streams that lack a leader or copies in sync.",
                           "flag"),
    "under_way": Spelling("--under-way", "Only moves that are not over.", "flag"),
    "status": Spelling("--status", "Only active, draining, drained or down ones."),
    # identity
    "audiences": Spelling("--audience", "Of its tokens; may be repeated.", metavar="NAME"),
    "discovery_url": Spelling("--discovery-url", "If it is not below the issuer.", metavar="URL"),
    "jwks_url": Spelling("--jwks-url", "Its keys, if it has no discovery.", metavar="URL"),
    "claim_mappings.subject_claim": Spelling("--subject-claim", "Who it is.  [default: sub]"),
    "claim_mappings.groups_claim": Spelling("--groups-claim", "Claim with the groups."),
    "plain_groups": Spelling("--plain-groups", "Its groups may be named without it.", "flag"),
    "subject": Spelling("--subject", "Principal id, group:NAME or role:NAME.", metavar="WHO"),
    "object": Spelling("--object", "As in stream:acme/billing/orders.", metavar="WHAT"),
    "action": Spelling("--action", "As in stream.publish.", metavar="ACTION"),
    "user": Spelling("--user", "Principal id, group:NAME or role:NAME.", metavar="WHO"),
    "role": Spelling("--role", "Role, as in role:tenant-admin.", metavar="ROLE"),
    "group": Spelling("--group", "A group that somebody is in; may be repeated.", "texts", "NAME"),
    "resource": Spelling("--resource", "Stream or cache, or * for all.", metavar="NAME"),
    "permissions": Spelling("--permission", "May be repeated."),
    "requested": Spelling("--action", "Only this one is granted; may be repeated.",
                          metavar="ACTION"),
    "resources": Spelling("--object", "Only on this one; may be repeated.", metavar="WHAT"),
    "audience": Spelling("--for", "Who is to take the token.  [default: felix-controlplane]"),
    "refresh": Spelling("--refresh", "Ask for a refresh token, too.", "flag"),
    "force": Spelling("--force", "No checks and no grace.", "flag"),
    "revoke": Spelling("--revoke", "At once, whatever its state; its tokens are void.", "flag"),
    "curve_public_key": Spelling("--curve-public-key", "In Z85.", metavar="KEY"),
    "password": Spelling("--password", "Make one up; it is shown once.", "flag"),
    # what all reads and writes have
    "filter": Spelling("--filter", "Names that contain this; with * or ? a pattern.",
                       metavar="TEXT"),
    "deleted": Spelling("--deleted", "Those whose deletion can still be taken back.", "flag"),
    "consistency": Spelling("--stale", "Read what the asked node has; works without a leader.",
                            "stale"),
    "expected_version": Spelling("--if-version", "Only if this is its version.", metavar="N"),
    "Idempotency-Key": Spelling("--idempotency-key", "Same key and same command: one effect.  "
                                "[default: a random one]", metavar="KEY"),
    "wait_brokers": Spelling("--wait-brokers", "Wait until so many brokers have it in force.",
                             metavar="N|all"),
    "wait_timeout_ms": Spelling("--brokers-timeout", "And so long at most: up to 60.  "
                                "[default: 10]", "seconds", "SECONDS"),
    "version": Spelling("--version", "One that history covers.  [default: the latest]",
                        metavar="N"),
    "level": Spelling("--level", "The new feature level.", metavar="N"),
}  # fmt: skip

NEVER_OPTIONS: Final = {
    "page_size": "pages are put together",
    "page_token": "pages are put together",
    "If-Match": "the same as expected_version",
    "If-None-Match": "for those who keep a copy",
    "confirm": "answered by the question, or by --yes",
    "durable": "the other spelling of durability",
    "retention.time": "--retention reads words",
    "retention.size": "--retention-size reads words",
    "quotas.max_storage": "--max-storage reads words",
    "encryption.rotation_period": "--rotation reads words",
}
"""Members that no command offers, and why."""
