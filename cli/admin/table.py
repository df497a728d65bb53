"""The whole table of commands, and which operations have none of it."""

from __future__ import annotations

from typing import Final

from felix.cli.admin.broker_table import BROKER_COMMANDS
from felix.cli.admin.catalog_table import CATALOG
from felix.cli.admin.command import Command
from felix.cli.admin.identity_table import IDENTITY
from felix.cli.admin.setting_table import SETTING_COMMANDS

TABLE: Final[tuple[Command, ...]] = (*CATALOG, *BROKER_COMMANDS, *IDENTITY, *SETTING_COMMANDS)
COMMANDS: Final[dict[str, Command]] = {command.name: command for command in TABLE}

NOUNS: Final[dict[str, str]] = {
    "tenant": "Tenants: the outermost containers.",
    "namespace": "Namespaces of a tenant.",
    "stream": "Streams of a namespace.",
    "cache": "Caches of a namespace.",
    "region": "Regions.",
    "broker": "Brokers: who they are, how they do, how they are emptied.",
    "placement": "Who holds which shards, and what placement does by itself.",
    "shard": "Single shards: who leads them, where they are.",
    "move": "Moves of shards.",
    "bridge": "Bridges: copies in another region.",
    "issuer": "Identity providers that a tenant trusts.",
    "policy": "Rules: what a subject may do.",
    "grouping": "Who has which role.",
    "acl": "Rules of a namespace as ACLs.",
    "key": "Keys that sign a tenant's tokens.",
    "token": "Tokens: getting one, and voiding those that are out.",
    "credential": "How brokers prove who they are.",
    "config": "Settings of the whole cluster, for its nodes and its brokers.",
    "flag": "Feature flags of brokers.",
    "system": "What the asked node is.",
    "metadata": "The whole metadata at one version.",
}
"""What the help says of each; `cluster`, `audit` and others are written by hand."""

BY_HAND: Final[dict[str, str]] = {
    "get_cluster": "cluster status",
    "list_members": "cluster members",
    "add_member": "cluster add",
    "remove_member": "cluster remove",
    "transfer_leadership": "cluster transfer",
    "get_audit": "audit list",
    "cluster_backup": "backup save",
    "metadata_watch": "watch",
}
"""Operations whose commands do more than ask once."""

_FEED: Final = "one of the feeds of the old contract, for brokers: `watch` and `metadata` say more"
WITHOUT_COMMAND: Final[dict[str, str]] = {
    **{f"{kind}_{half}": _FEED for kind in ("tenants", "namespaces", "streams", "caches")
       for half in ("snapshot", "changes")},
    "report_health": "a broker's heartbeat: nobody else can say how it does",
    "delete_issuer_by_query": "`issuer delete` does the same",
}  # fmt: skip
"""Operations that need none, and why."""
