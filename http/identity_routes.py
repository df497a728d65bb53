"""Routes of identity, for the one table of routes."""

from __future__ import annotations

from typing import Final

from felix.http import identity_bodies as bodies
from felix.http import identity_views as views
from felix.http.access import OPEN, Access
from felix.http.acls import Acls
from felix.http.broker_credentials import Credentials, OneCredential
from felix.http.issuers import Issuers, OneIssuer
from felix.http.rbac import Groupings, Policies
from felix.http.rights_questions import CanI, Explain
from felix.http.route import CONSISTENCY, KEY, Door, Other, Parameter, Route
from felix.http.signing_keys import KeyActivation, OneSigningKey, SigningKeys, TenantJwks
from felix.http.tokens import Exchange, PrincipalRevocation, Refresh, TenantRevocation

_TENANT: Final = "/v1/tenants/{tenant_id}"
_ISSUERS: Final = _TENANT + "/idp-issuers"
_POLICIES: Final = _TENANT + "/rbac/policies"
_GROUPINGS: Final = _TENANT + "/rbac/groupings"
_ACLS: Final = _TENANT + "/namespaces/{namespace}/acls"
_KEYS: Final = _TENANT + "/signing-keys"
_CREDENTIALS: Final = "/v1/broker-credentials"

_UPSTREAM: Final = Access("upstream")
_ADMIN: Final = Access("caller", "tenant.manage", "tenant:{tenant_id}", always=True)
_VIEWER: Final = Access("caller", "rbac.view", always=True)
_RULES: Final = Access("caller", "rbac.policy.manage", always=True)
_ASSIGNMENTS: Final = Access("caller", "rbac.assignment.manage", always=True)
_REVOKER: Final = Access("caller", "rbac.assignment.manage", "tenant:{tenant_id}", always=True)
_OPERATOR: Final = Access("caller", "cluster.manage", "cluster:*", always=True)
_ANYONE: Final = Access("caller", always=True)

_ISSUER: Final = Parameter("issuer", "the issuer, or its short id")
_ACTION: Final = Parameter("action", "as in `stream.publish`")
_OBJECT: Final = Parameter("object", "as in `stream:acme/billing/invoices`")
_PRINCIPAL: Final = Parameter("principal", "somebody else, which needs `rbac.view` there")
_GROUP: Final = Parameter("group", "a group that somebody else is in; may be repeated")


def _members(*names: str) -> tuple[Parameter, ...]:
    return (*(Parameter(name, "in place of the body's member") for name in names), KEY)


_TOKENS: Final = (
    Route(
        method="POST",
        path=_TENANT + "/token/exchange",
        resource=Exchange,
        operation="exchange_token",
        summary="Trade a token of an identity provider for a Felix token",
        access=_UPSTREAM,
        request=bodies.ExchangeBody,
        body_is_optional=True,
        response=views.TokenView,
        refusals=(415, 422),
    ),
    Route(
        method="POST",
        path=_TENANT + "/token/refresh",
        resource=Refresh,
        operation="refresh_token",
        summary="Trade a refresh token, once, for a Felix token and the next refresh token",
        access=Access("open"),
        request=bodies.RefreshBody,
        response=views.TokenView,
        refusals=(401, 403, 415, 422),
        parameters=(KEY,),
    ),
    Route(
        method="POST",
        path=_TENANT + "/tokens/revoke",
        resource=TenantRevocation,
        operation="revoke_all_tokens",
        summary="Void every token of the tenant that was issued up to now",
        access=_REVOKER,
        status=204,
        refusals=(404, 422, 507),
        parameters=(KEY,),
    ),
    Route(
        method="POST",
        path=_TENANT + "/principals/{principal}/revoke",
        resource=PrincipalRevocation,
        operation="revoke_tokens",
        summary="Void every token of a principal that was issued up to now",
        access=_REVOKER,
        status=204,
        refusals=(404, 422, 507),
        parameters=(KEY,),
    ),
)

_SIGNING_KEYS: Final = (
    Route(
        method="GET",
        path=_TENANT + "/.well-known/jwks.json",
        resource=TenantJwks,
        operation="get_jwks",
        summary="The public keys that the tenant's tokens are verified with",
        access=OPEN,
        response=views.JwksView,
        others=(Other(304),),
        refusals=(404,),
        parameters=(
            Parameter("If-None-Match", "the `ETag` of what is known: 304 if it still is", "header"),
        ),
    ),
    Route(
        method="GET",
        path=_KEYS,
        resource=SigningKeys,
        operation="list_signing_keys",
        summary="List signing keys and their states: published, active, retiring",
        access=_ADMIN,
        response=views.SigningKeyStates,
        refusals=(404,),
        parameters=(CONSISTENCY,),
    ),
    Route(
        method="POST",
        path=_KEYS,
        resource=SigningKeys,
        operation="stage_signing_key",
        summary="Publish a new signing key that does not sign yet",
        access=_ADMIN,
        response=views.KeyChange,
        status=201,
        refusals=(404, 409, 422, 507),
        parameters=(KEY,),
    ),
    Route(
        method="POST",
        path=_KEYS + "/{kid}/activate",
        resource=KeyActivation,
        operation="activate_signing_key",
        summary="Sign with a published key from now on",
        access=_ADMIN,
        request=bodies.ActivateBody,
        body_is_optional=True,
        response=views.KeyChange,
        refusals=(404, 409, 415, 422, 507),
        parameters=(KEY,),
    ),
    Route(
        method="DELETE",
        path=_KEYS + "/{kid}",
        resource=OneSigningKey,
        operation="retire_signing_key",
        summary="Take a signing key out of use; the answer names the one that signs now",
        access=_ADMIN,
        response=views.KeyChange,
        refusals=(404, 409, 422),
        parameters=(
            Parameter("revoke", "`true`: at once, whatever its state; its tokens are void"),
            KEY,
        ),
    ),
)

_TRUST: Final = (
    Route(
        method="GET",
        path=_ISSUERS,
        resource=Issuers,
        operation="list_issuers",
        summary="List the identity providers that the tenant trusts",
        access=_ADMIN,
        response=views.IssuerPage,
        refusals=(404,),
        parameters=(_ISSUER, CONSISTENCY),
    ),
    Route(
        method="POST",
        path=_ISSUERS,
        resource=Issuers,
        operation="put_issuer",
        summary="Trust an identity provider, or change how; 200 for a dry run",
        access=_ADMIN,
        request=bodies.IssuerBody,
        status=204,
        others=(Other(200, views.IssuerProbeView),),
        refusals=(404, 415, 422, 507),
        parameters=(
            Parameter("dry_run", "`true`: change nothing, and say what the provider says"),
            KEY,
        ),
    ),
    Route(
        method="DELETE",
        path=_ISSUERS,
        resource=Issuers,
        operation="delete_issuer_by_query",
        summary="Trust an identity provider no longer; its tokens are void",
        access=_ADMIN,
        status=204,
        refusals=(404, 422),
        parameters=(_ISSUER, KEY),
    ),
    Route(
        method="GET",
        path=_ISSUERS + "/{issuer}",
        resource=OneIssuer,
        operation="get_issuer",
        summary="Read one identity provider, by its URL or its short id",
        access=_ADMIN,
        has_slashes=True,
        response=views.IssuerView,
        refusals=(404,),
        parameters=(CONSISTENCY,),
    ),
    Route(
        method="DELETE",
        path=_ISSUERS + "/{issuer}",
        resource=OneIssuer,
        operation="delete_issuer",
        summary="Trust an identity provider no longer; its tokens are void",
        access=_ADMIN,
        has_slashes=True,
        status=204,
        refusals=(404, 422),
        parameters=(KEY,),
    ),
)

_RBAC: Final = (
    Route(
        method="GET",
        path=_POLICIES,
        resource=Policies,
        operation="list_policies",
        summary="List the rules that the caller may view",
        access=_VIEWER,
        response=views.PolicyView,
        is_list=True,
        refusals=(404,),
        parameters=(CONSISTENCY,),
    ),
    Route(
        method="POST",
        path=_POLICIES,
        resource=Policies,
        operation="add_policy",
        summary="Add a rule, if it is not there",
        access=_RULES,
        request=bodies.PolicyBody,
        status=204,
        refusals=(404, 415, 422, 507),
        parameters=(KEY,),
    ),
    Route(
        method="DELETE",
        path=_POLICIES,
        resource=Policies,
        operation="remove_policy",
        summary="Remove a rule, whether it was there or not",
        access=_RULES,
        request=bodies.PolicyBody,
        body_is_optional=True,
        status=204,
        refusals=(404, 409, 415, 422),
        parameters=_members("subject", "object", "action"),
    ),
    Route(
        method="GET",
        path=_GROUPINGS,
        resource=Groupings,
        operation="list_groupings",
        summary="List the assignments of roles that the caller may view",
        access=_VIEWER,
        response=views.GroupingView,
        is_list=True,
        refusals=(404,),
        parameters=(CONSISTENCY,),
    ),
    Route(
        method="POST",
        path=_GROUPINGS,
        resource=Groupings,
        operation="add_grouping",
        summary="Give a role to a user, group or role",
        access=_ASSIGNMENTS,
        request=bodies.GroupingBody,
        status=204,
        refusals=(404, 415, 422, 507),
        parameters=(KEY,),
    ),
    Route(
        method="DELETE",
        path=_GROUPINGS,
        resource=Groupings,
        operation="remove_grouping",
        summary="Take a role from a user, group or role",
        access=_ASSIGNMENTS,
        request=bodies.GroupingBody,
        body_is_optional=True,
        status=204,
        refusals=(404, 409, 415, 422),
        parameters=_members("user", "role"),
    ),
    Route(
        method="GET",
        path=_TENANT + "/rbac/can-i",
        resource=CanI,
        operation="can_i",
        summary="Whether the caller, or somebody else, may do something",
        access=_ANYONE,
        response=views.MayView,
        refusals=(404,),
        parameters=(_ACTION, _OBJECT, _PRINCIPAL, _GROUP),
    ),
    Route(
        method="GET",
        path=_TENANT + "/rbac/explain",
        resource=Explain,
        operation="explain",
        summary="Which rules let the caller, or somebody else, do something",
        access=_ANYONE,
        response=views.ExplanationView,
        refusals=(404,),
        parameters=(_ACTION, _OBJECT, _PRINCIPAL, _GROUP),
    ),
    Route(
        method="GET",
        path=_ACLS,
        resource=Acls,
        operation="list_acls",
        summary="List the rules of a namespace as ACLs, as far as the caller may view them",
        access=_VIEWER,
        response=views.AclPage,
        refusals=(404,),
        parameters=(CONSISTENCY,),
    ),
    Route(
        method="PUT",
        path=_ACLS,
        resource=Acls,
        operation="put_acl",
        summary="Let a principal do this with a resource, and nothing else with it",
        access=_RULES,
        request=bodies.AclBody,
        response=views.AclView,
        refusals=(404, 409, 415, 422, 507),
        parameters=(KEY,),
    ),
    Route(
        method="DELETE",
        path=_ACLS,
        resource=Acls,
        operation="delete_acl",
        summary="Let a principal do nothing with a resource that an ACL can say",
        access=_RULES,
        status=204,
        refusals=(404, 409, 422),
        parameters=(
            Parameter("principal", "whose"),
            Parameter("resource", "a stream or cache, or `*`"),
            KEY,
        ),
    ),
)

_BROKERS: Final = (
    Route(
        method="GET",
        path=_CREDENTIALS,
        resource=Credentials,
        operation="list_broker_credentials",
        summary="List how brokers prove who they are, without the secrets",
        access=_OPERATOR,
        response=views.CredentialPage,
        parameters=(CONSISTENCY,),
    ),
    Route(
        method="PUT",
        path=_CREDENTIALS + "/{broker_id}",
        resource=OneCredential,
        operation="put_broker_credential",
        summary="Let a broker in by a CURVE key, a password, or both",
        access=_OPERATOR,
        request=bodies.CredentialBody,
        response=views.NewCredentialView,
        refusals=(409, 415, 422, 507),
        parameters=(KEY,),
    ),
    Route(
        method="DELETE",
        path=_CREDENTIALS + "/{broker_id}",
        resource=OneCredential,
        operation="delete_broker_credential",
        summary="Let a broker in no longer",
        access=_OPERATOR,
        status=204,
        refusals=(404, 422),
        parameters=(KEY,),
    ),
)

IDENTITY_ROUTES: Final = (*_TOKENS, *_SIGNING_KEYS, *_TRUST, *_RBAC, *_BROKERS)

BOOTSTRAP: Final = Door(
    method="POST",
    path="/internal/bootstrap/tenants/{tenant_id}/initialize",
    operation="bootstrap_tenant",
    summary="Give a tenant its first administrators, once, on the bootstrap listener",
    access=Access("bootstrap"),
    request=bodies.BootstrapBody,
    response=views.BootstrapView,
    refusals=(404, 409, 415, 422, 507),
    parameters=(KEY,),
)
"""Not in the table: it has a listener of its own."""
