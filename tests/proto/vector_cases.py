"""What the golden vectors are made of. One case is one record that travels, and what it is.

The files in `tests/vectors/` are written by

    python -m pytest tests/proto/test_vectors.py --update-vectors

and reviewed as a diff: a changed vector is a changed protocol.
"""

from __future__ import annotations

from typing import Any

import msgspec

from felix.proto import cluster, commands, errors, identity, queries, raft, resources, updates
from felix.proto.codec import encode
from felix.proto.commands import Deleted, FeatureLevel, Proposal, Stamp
from felix.proto.digest import Digest
from felix.proto.ids import Index, NodeId, Term
from felix.proto.resources import RetentionPolicy, StreamSpec
from felix.proto.rpc import NO_RESULT, PROTOCOL, AnyRequest, Reply, Request
from felix.proto.updates import RawUpdate, SnapshotChunk, UpdateBatch, WatchHeader
from tests.proto import placement_cases, settings_cases


class Case(msgspec.Struct, frozen=True):
    """One golden vector."""

    name: str
    what: str
    record: Any
    kind: Any
    """What a decoder is told to expect."""


CLUSTER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
LEADER = "11111111111111111111111111111111"
FOLLOWER = "22222222222222222222222222222222"

ADDRESSES = raft.Addresses(peers="10.0.0.1:8444", rpc="10.0.0.1:9000")

TENANT = resources.Tenant(
    tenant_id="acme",
    display_name="Acme, Inc.",
    quotas=resources.Quotas(max_streams=1000),
    version=1,
    created_version=1,
    created_at_ms=1_760_000_000_000,
    updated_at_ms=1_760_000_000_000,
)
NAMESPACE = resources.Namespace(
    tenant_id="acme",
    namespace="prod",
    version=2,
    created_version=2,
    created_at_ms=1_760_000_000_001,
    updated_at_ms=1_760_000_000_001,
)
STREAM = resources.Stream(
    tenant_id="acme",
    namespace="prod",
    stream="orders",
    stream_id="st-000000000003",
    spec=StreamSpec(
        shards=8,
        retention=RetentionPolicy(max_age_seconds=86_400),
        durability="durable",
        replication_factor=3,
        ack_policy="quorum",
    ),
    version=3,
    created_version=3,
    created_at_ms=1_760_000_000_002,
    updated_at_ms=1_760_000_000_002,
)
CACHE = resources.Cache(
    tenant_id="acme",
    namespace="prod",
    cache="sessions",
    version=4,
    created_version=4,
    created_at_ms=1_760_000_000_003,
    updated_at_ms=1_760_000_000_003,
)
ALL = (TENANT, NAMESPACE, STREAM, CACHE)
SIGNING_KEY = resources.SigningKey(
    tenant_id="acme",
    kid="5d0c0000000000000000000000000001",
    public_key="11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    state="active",
    state_since_ms=1_760_000_000_000,
    version=5,
    created_version=5,
    created_at_ms=1_760_000_000_004,
    updated_at_ms=1_760_000_000_004,
)
REVOCATION = resources.TokenRevocation(
    tenant_id="acme",
    principal="ab" * 32,
    before_ms=1_760_000_000_005,
    version=6,
    created_version=6,
    created_at_ms=1_760_000_000_005,
    updated_at_ms=1_760_000_000_005,
)
NEW_KEY = identity.NewKey(
    SIGNING_KEY.kid, SIGNING_KEY.public_key, "0123456789abcdef", b"\x00\xff" * 30
)
ISSUER = commands.NewIssuer(
    issuer="https://idp.example.test",
    audiences=("felix-controlplane",),
    jwks_url="https://idp.example.test/keys",
    groups_claim="groups",
)
RULE = identity.Rule("role:reader", "stream:acme/prod/*", "stream.subscribe")
ASSIGNMENT = identity.Assignment("group:analysts", "role:reader")
GRANT = identity.RefreshGrant(
    tenant_id="acme",
    grant_id="a" * 32,
    secret_hash=b"\x01" * 32,
    family="a" * 32,
    principal="ab" * 32,
    issuer=ISSUER.issuer,
    groups=("group:analysts",),
    permissions=("stream.subscribe:stream:acme/prod/*",),
    audience="felix-broker",
    expires_at_ms=1_760_000_043_000,
)
REFUSAL = identity.Refusal(
    time_ms=1_760_000_000_006,
    operation="GetTenant",
    code="forbidden",
    reason="no permission",
    principal="ab" * 32,
    source="10.0.0.7:5123",
    request_id="req-2",
    tenant_id="acme",
    object="tenant:acme",
    count=3,
)


def digest_of(*objects: resources.Resource) -> str:
    digest = Digest()
    for one in objects:
        digest.add(encode(one))
    return digest.hex()


def raw(record: Any) -> msgspec.Raw:
    return msgspec.Raw(encode(record))


def requests() -> list[Case]:
    """Every request there is, and one with everything an envelope may carry."""
    names: Any = {"tenant_id": "acme", "namespace": "prod"}
    messages: list[AnyRequest] = [
        commands.CreateTenant(tenant_id="acme", display_name="Acme, Inc."),
        commands.UpdateTenant(tenant_id="acme", description="", expected_version=1),
        commands.DeleteTenant(tenant_id="acme"),
        commands.CreateNamespace(**names),
        commands.UpdateNamespace(**names, display_name="Production"),
        commands.DeleteNamespace(**names, expected_version=2),
        commands.CreateStream(**names, stream="orders", spec=STREAM.spec),
        commands.UpdateStream(**names, stream="orders", retention=RetentionPolicy()),
        commands.DeleteStream(**names, stream="orders"),
        commands.CreateCache(**names, cache="sessions"),
        commands.UpdateCache(**names, cache="sessions", display_name="Sessions"),
        commands.DeleteCache(**names, cache="sessions"),
        queries.GetTenant(tenant_id="acme"),
        queries.ListTenants(),
        queries.GetNamespace(**names),
        queries.ListNamespaces(tenant_id="acme"),
        queries.GetStream(**names, stream="orders"),
        queries.ListStreams(**names, filter="ord*", page_size=100, page_token="b3JkZXJz"),
        queries.GetCache(**names, cache="sessions"),
        queries.ListCaches(**names),
        queries.GetSnapshot(),
        queries.WatchUpdates(from_version=2, epoch=1, wait_ms=1000),
        queries.GetFeedSnapshot(feed="streams"),
        queries.GetFeedChanges(feed="streams", since=3),
        queries.GetCluster(),
        cluster.AddMember(member_id=FOLLOWER, name="node-2", addresses=ADDRESSES, replace=True),
        cluster.UpdateMember(member_id=FOLLOWER, addresses=ADDRESSES),
        cluster.RemoveMember(member="node-2"),
        cluster.TransferLeadership(target="node-2"),
        commands.SetFeatureLevel(level=2),
        queries.GetBackup(backup="0123456789abcdef", piece=1),
        *identity_requests(),
        *placement_cases.requests(),
        *settings_cases.requests(),
    ]
    cases = [
        Case(
            f"request-{type(message).__name__}",
            f"{type(message).__name__} with a timeout of 5 s; the rest of the envelope at defaults",
            Request(PROTOCOL, number, 5000, message),
            Request,
        )
        for number, message in enumerate(messages, start=1)
    ]
    full = Request(
        PROTOCOL,
        77,
        250,
        commands.CreateTenant(tenant_id="acme"),
        "stale",
        "key-1",
        "req-1",
        "alice",
        "10.0.0.7:5123",
        1,
        wants_acks=True,
    )
    return [*cases, Case("request-full-envelope", "every element of the envelope", full, Request)]


def identity_requests() -> list[AnyRequest]:
    """Every request about identity."""
    acme: Any = {"tenant_id": "acme"}
    key: Any = {"tenant_id": "acme", "kid": SIGNING_KEY.kid}
    return [
        commands.BootstrapTenant(
            **acme,
            display_name="Acme, Inc.",
            issuers=(ISSUER,),
            admins=("ab" * 32,),
            policies=(RULE,),
            groupings=(ASSIGNMENT,),
        ),
        commands.PutIssuer(**acme, issuer=ISSUER, may_change=False),
        commands.DeleteIssuer(**acme, issuer=ISSUER.issuer),
        commands.ChangePolicies(**acme, add=(RULE,), scopes=("namespace:acme/prod",)),
        commands.ChangeGroupings(**acme, remove=(ASSIGNMENT,)),
        commands.StageSigningKey(**acme),
        commands.ActivateSigningKey(**key, lead_ms=5_400_000),
        commands.RetireSigningKey(**key, revoke=True),
        commands.RewrapSigningKey(**key, kek_id="fedcba9876543210", sealed=b"\xff\x00" * 30),
        commands.GrantRefresh(grant=GRANT),
        commands.UseRefresh(
            **acme,
            grant_id=GRANT.grant_id,
            secret_hash=GRANT.secret_hash,
            next_id="b" * 32,
            next_secret_hash=b"\x02" * 32,
        ),
        commands.RevokeTokens(**acme, principal="*"),
        commands.PutBrokerCredential(
            broker_id="broker-1", curve_key="k" * 40, secret_hash=b"\x03" * 32
        ),
        commands.DeleteBrokerCredential(broker_id="broker-1"),
        commands.RecordRefusals(node="node-1", refusals=(REFUSAL,), dropped=2),
        queries.GetTenantIdentity(**acme, known_index=7),
        queries.ListAllSigningKeys(page_size=100),
        queries.ListBrokerCredentials(),
        queries.GetAudit(**acme, result="forbidden", before=900),
        queries.GetIssuerKeys(**acme, issuer=ISSUER.issuer, missing_kid="k-2"),
        queries.ProbeIssuer(issuer=ISSUER.issuer),
    ]


def identity_answers() -> dict[str, tuple[str, Any, int]]:
    """Every answer about identity, by name: what it is, the record, the version."""
    sealed = identity.SealedKey(
        "acme", NEW_KEY.kid, NEW_KEY.public_key, NEW_KEY.kek_id, NEW_KEY.sealed
    )
    trusted = identity.IdpIssuer(
        tenant_id="acme", updated_at_ms=1_760_000_000_007, **msgspec.structs.asdict(ISSUER)
    )
    view = identity.IdentityView(
        tenant_id="acme",
        changed_index=8,
        is_bootstrapped=True,
        issuers=(trusted,),
        policies=(identity.Policy("acme", RULE.subject, RULE.object, RULE.action),),
        groupings=(identity.Grouping("acme", ASSIGNMENT.user, ASSIGNMENT.role),),
        keys=(SIGNING_KEY,),
        sealed_keys=(sealed,),
        revocations=(REVOCATION,),
    )
    record = identity.AuditRecord(
        sequence=5,
        index=9,
        time_ms=1_760_000_000_006,
        operation="RevokeTokens",
        result="success",
        principal="alice",
        tenant_id="acme",
        object="principal:*",
        request_id="req-1",
        version=6,
    )
    credential = identity.BrokerCredential(
        broker_id="broker-1", curve_key="k" * 40, updated_at_ms=1_760_000_000_008
    )
    page = identity.AuditPage((record,), (b"\x05" * 32,), 1, 5, b"\x05" * 32, 5, b"\x04" * 32)
    probe = identity.IssuerProbe(found_issuer=ISSUER.issuer, algorithms=("ES256",), keys=1)
    return {
        "done": ("the answer to StageSigningKey", identity.Done(id=NEW_KEY.kid), 5),
        "done-unchanged": ("nothing was to be done", identity.Done(changed=False), 5),
        "refresh-grant": ("the answer to UseRefresh", GRANT, 6),
        "identity": ("all that is known of a tenant's identity", view, 6),
        "identity-unchanged": (
            "it is as of known_index",
            identity.IdentityView(tenant_id="acme", changed_index=8, is_unchanged=True),
            6,
        ),
        "signing-keys": (
            "the keys of all tenants",
            identity.SigningKeyPage(((SIGNING_KEY, sealed, 86_400),), "YWNtZQ"),
            6,
        ),
        "broker-credentials": (
            "how brokers prove who they are",
            identity.BrokerCredentials((credential,), 9),
            6,
        ),
        "audit": ("a page of the audit trail", page, 6),
        "jwks": ("keys of an identity provider", identity.Jwks(document=b"{}", age_ms=1000), 6),
        "probe": ("what an identity provider said of itself", probe, 6),
    }


def replies() -> list[Case]:
    """Answers and errors."""
    status = queries.ClusterStatus(
        cluster_id=CLUSTER,
        node_id=LEADER,
        leader_id=LEADER,
        term=3,
        commit_index=9,
        applied_index=9,
        version=4,
        epoch=1,
        digest=digest_of(*ALL),
        members=[
            queries.MemberStatus(
                id=LEADER,
                name="n1",
                role="leader",
                addresses={"rpc": "127.0.0.1:9000", "watch": "127.0.0.1:9001"},
                match_index=9,
                lag=0,
                active=True,
                voter=True,
            )
        ],
        commit_window_s=10,
        commit_windows=[
            queries.CommitWindow(),
            queries.CommitWindow(commits=12, p50_us=900, p99_us=2400, max_us=3100),
        ],
    )
    batch = UpdateBatch(
        CLUSTER,
        1,
        3,
        4,
        4,
        [RawUpdate(3, "CREATE", raw(STREAM)), RawUpdate(4, "CREATE", raw(CACHE))],
        digest_of(*ALL),
    )
    answers = {
        "resource": ("the answer to CreateStream, and a read of it", STREAM, 3),
        "deleted": ("the answer to DeleteNamespace with three objects gone", Deleted(7, 3), 7),
        "feature-level": ("the answer to SetFeatureLevel", FeatureLevel(2), 7),
        "listing": ("a page that is not the last", queries.Listing([STREAM], "b3JkZXJz"), 4),
        "snapshot-chunk": (
            "the only chunk of the metadata at version 4",
            SnapshotChunk(CLUSTER, 1, 4, 0, 1, digest_of(*ALL), [raw(one) for one in ALL]),
            4,
        ),
        "update-batch": ("updates 3 and 4, which is all there is", batch, 4),
        "feed-snapshot": ("all items of a feed", queries.FeedSnapshot([STREAM], 4), 4),
        "feed-changes": (
            "one change of a feed",
            queries.FeedChanges([queries.FeedChange(3, "created", STREAM.key, STREAM)], 4),
            4,
        ),
        "cluster": ("a cluster of one", status, 4),
        "backup-piece": (
            "a piece of a backup that is not the last",
            queries.BackupPiece(
                "0123456789abcdef", CLUSTER, 1, 4, digest_of(*ALL), 1, b"\x00\xff", False
            ),
            4,
        ),
        **identity_answers(),
        **placement_cases.answers(),
        **settings_cases.answers(),
    }
    cases = [
        Case(f"reply-{name}", what, Reply(PROTOCOL, 7, version, 0, None, raw(result)), Reply)
        for name, (what, result, version) in answers.items()
    ]
    refusals = [
        errors.NotFound("no such tenant"),
        errors.NoLeader("an election is under way", retry_after_ms=100),
        errors.Compacted("too old", details={"oldest": 100, "current": 200, "epoch": 1}),
        errors.OutcomeUnknown("leadership was lost"),
        errors.Unauthorized("the token is not good"),
        errors.KeyStateRefused("the key signs", details={"reason": "is_active"}),
        errors.BrokerFenced("another boot has registered", details={"broker_epoch": 8}),
    ]
    return cases + [
        Case(
            f"reply-error-{refusal.code}",
            f"the error {refusal.code}",
            Reply(PROTOCOL, 7, 0, 0, refusal.to_reply(), NO_RESULT),
            Reply,
        )
        for refusal in refusals
    ]


def watch() -> list[Case]:
    """Headers and payloads of the watch socket."""
    two = [
        updates.MetadataUpdate(3, "CREATE", STREAM),
        updates.MetadataUpdate(4, "CREATE", CACHE),
    ]
    header = WatchHeader(PROTOCOL, CLUSTER, 1, 3, 4, LEADER, 1_760_000_000_003_000, digest_of(*ALL))
    mark = msgspec.structs.replace(header, first=5)
    payloads, kinds = list[updates.MetadataUpdate], resources.Resource
    deleted = [updates.MetadataUpdate(5, "DELETE", CACHE)]
    return [
        Case("watch-header", "header of a message with the updates 3 and 4", header, WatchHeader),
        Case("watch-payload", "payload of that message", two, payloads),
        Case("watch-bookmark-header", "a bookmark at version 4: first is 5", mark, WatchHeader),
        Case("watch-bookmark-payload", "payload of every bookmark", [], payloads),
        Case("watch-payload-delete", "a DELETE carries the object as it was", deleted, payloads),
        *(
            Case(f"resource-{one.key[-1]}", "one object, as digests cover it", one, kinds)
            for one in (*ALL, SIGNING_KEY, REVOCATION)
        ),
    ]  # fmt: skip


def log_and_peers() -> list[Case]:
    """What is written to the log, and what peers say."""
    proposal = Proposal(
        1,
        Stamp(1_760_000_000_002, "req-1", "alice", "10.0.0.7:5123", "key-1"),
        commands.CreateStream(tenant_id="acme", namespace="prod", stream="orders"),
    )
    staged = Proposal(
        1,
        Stamp(1_760_000_000_004, "req-3", "alice", new_key=NEW_KEY),
        commands.StageSigningKey(tenant_id="acme"),
    )
    ids = (NodeId(LEADER), NodeId(FOLLOWER), Term(3))
    entry = raft.Entry(Index(9), Term(3), raft.EntryKind.COMMAND, b"\x01\x02")
    meta = raft.SnapshotMeta(Index(8), Term(2), raft.Membership((ids[0], ids[1])), 4096, "ab" * 32)
    messages: list[raft.AnyPeerMessage] = [
        raft.PreVote(*ids, Index(9), Term(3)),
        raft.PreVoteReply(*ids, True),
        raft.RequestVote(*ids, Index(9), Term(3)),
        raft.VoteReply(*ids, False),
        raft.AppendEntries(*ids, Index(8), Term(2), Index(8), (entry,)),
        raft.AppendReply(*ids, True, Index(9)),
        raft.Heartbeat(*ids, Index(9), 4, 70, 50, 2, Index(9)),
        raft.HeartbeatReply(*ids, 4, 51, 70, raft.Checkpoint(Index(8), digest_of(*ALL))),
        raft.InstallSnapshot(*ids, meta, 0, b"\x00\xff"),
        raft.SnapshotReply(*ids, Index(8), 2, False),
        raft.ReadIndexRequest(*ids, 5),
        raft.ReadIndexReply(*ids, 5, Index(9)),
        raft.TimeoutNow(*ids),
        raft.Dismissal(*ids, Index(9)),
        raft.Divergence(*ids, raft.Checkpoint(Index(8), digest_of(*ALL))),
    ]
    member = raft.Member(ids[0], "node-1", ADDRESSES)
    learner = raft.Member(ids[1], "node-2", ADDRESSES, 1, NodeId("3" * 32))
    gone = raft.RemovedMember(NodeId("4" * 32), "node-4", "10.0.0.4:8444")
    membership = raft.Membership((ids[0],), (), (ids[1],), (member, learner), (gone,))
    return [
        Case("proposal", "the content of one log entry", proposal, Proposal),
        Case("proposal-key", "one that brings a signing key, sealed", staged, Proposal),
        Case("membership", "the content of a membership entry", membership, raft.Membership),
        *(
            Case(
                f"peer-{type(message).__name__}",
                f"a {type(message).__name__} from node 1111... to node 2222... in term 3",
                raft.PeerFrame(PROTOCOL, CLUSTER, message),
                raft.PeerFrame,
            )
            for message in messages
        ),
    ]


FILES = {
    "requests": requests,
    "replies": replies,
    "watch": watch,
    "log_and_peers": log_and_peers,
}
