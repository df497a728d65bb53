"""Commands about who may do what: tokens, keys, issuers, rules, credentials of brokers."""

from __future__ import annotations

from typing import Final

from felix.cli.admin.command import Command, Spelling

POLICIES: Final = ("SUBJECT=subject", "OBJECT=object", "ACTION=action")
GROUPINGS: Final = ("USER=user", "ROLE=role")
ACLS: Final = ("RESOURCE=resource", "PRINCIPAL=principal", "PERMISSIONS=permissions")
KEYS: Final = ("KID=kid", "STATE=state", "SINCE=state_since", "ALG=alg")
ISSUERS: Final = ("ID=id", "ISSUER=issuer", "AUDIENCES=audiences", "PLAIN GROUPS=plain_groups",
                  "UPDATED=updated_at")  # fmt: skip
CREDENTIALS: Final = ("BROKER=broker_id", "CURVE KEY=curve_public_key", "PASSWORD=has_password",
                      "UPDATED=updated_at")  # fmt: skip
JWKS: Final = ("KID=kid", "ALG=alg", "CURVE=crv", "X=x")

IDENTITY: Final = (
    Command(
        name="token exchange",
        operation="exchange_token",
        proof="upstream",
        fixed={"audience": "felix-controlplane"},
        saves=True,
    ),
    Command(
        name="token refresh",
        operation="refresh_token",
        without=("refresh_token",),
        proof="refresh",
        saves=True,
        help="Trade a refresh token, once, for a Felix token and the next refresh token",
    ),
    Command(
        name="token revoke",
        operation="revoke_tokens",
        own="principal",
        destroys="Every token of {principal} that was issued up to now is void",
        done="the tokens of {principal} are void",
    ),
    Command(
        name="token revoke-all",
        operation="revoke_all_tokens",
        destroys="Every token of tenant {tenant_id} that was issued up to now is void, yours too",
        done="all tokens of {tenant_id} are void",
    ),
    Command(name="key list", operation="list_signing_keys", columns=KEYS),
    Command(name="key stage", operation="stage_signing_key"),
    Command(
        name="key activate",
        operation="activate_signing_key",
        own="kid",
        spelled={"force": Spelling("--force", "Even if brokers may not know it yet.", "flag")},
    ),
    Command(
        name="key retire",
        operation="retire_signing_key",
        own="kid",
        destroys="Key {kid} signs and vouches no longer; with --revoke its tokens are void at once",
    ),
    Command(name="key jwks", operation="get_jwks", columns=JWKS, rows="keys"),
    Command(
        name="issuer list", operation="list_issuers", columns=ISSUERS,
        spelled={"issuer": Spelling("--issuer", "Only this one.", metavar="URL")},
    ),
    Command(name="issuer get", operation="get_issuer", own="issuer"),
    Command(
        name="issuer set",
        operation="put_issuer",
        patience_s=15.0,
        own="issuer",
        done="tenant {tenant_id} trusts {issuer}",
    ),
    Command(
        name="issuer delete",
        operation="delete_issuer",
        own="issuer",
        destroys="Tenant {tenant_id} trusts {issuer} no longer; its tokens are void",
        done="tenant {tenant_id} trusts {issuer} no longer",
    ),
    Command(name="policy list", operation="list_policies", columns=POLICIES),
    Command(name="policy add", operation="add_policy", done="{subject} may {action} on {object}"),
    Command(
        name="policy remove",
        operation="remove_policy",
        required=("subject", "object", "action"),
        done="no rule says any more that {subject} may {action} on {object}",
    ),
    Command(name="grouping list", operation="list_groupings", columns=GROUPINGS),
    Command(name="grouping add", operation="add_grouping", done="{user} has {role}"),
    Command(
        name="grouping remove",
        operation="remove_grouping",
        required=("user", "role"),
        done="{user} does not have {role}",
    ),
    Command(name="acl list", operation="list_acls", columns=ACLS),
    Command(name="acl set", operation="put_acl"),
    Command(
        name="acl delete",
        operation="delete_acl",
        required=("principal", "resource"),
        done="no ACL lets {principal} do anything with {resource}",
    ),
    Command(
        name="can-i",
        operation="can_i",
        arguments=("action", "object"),
        must_be="allowed",
        help="Say whether you, or somebody else, may do something; if not, the exit code is 1",
    ),
    Command(name="explain", operation="explain", arguments=("action", "object")),
    Command(name="credential list", operation="list_broker_credentials", columns=CREDENTIALS),
    Command(name="credential set", operation="put_broker_credential", own="broker_id"),
    Command(
        name="credential delete",
        operation="delete_broker_credential",
        own="broker_id",
        destroys="Broker {broker_id} is let in no longer",
        done="broker {broker_id} is let in no longer",
    ),
)  # fmt: skip
