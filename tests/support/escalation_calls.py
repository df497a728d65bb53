"""What people try over HTTP, and what each of it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from tests.http.realm import ACME, GROUPINGS, ISSUERS, KEYS, POLICIES
from tests.support.escalation import EVIL, PEOPLE, State, World
from tests.support.rights_model import Atom

OPERATORS: Final = "/v1/tenants/felix-operators"
WHOLE: Final = "tenant:acme"


class Attempt(msgspec.Struct, frozen=True):
    """A request, and what it takes."""

    kind: Literal["rules", "assignments", "issuer", "simple", "never"]
    """`simple` takes exactly `needed`; of `rules` and `assignments` it is what comes of them that
    counts; `never` is beyond everybody here."""
    method: str
    path: str
    request: dict[str, Any] = {}
    needed: Atom | None = None


NEVER: Final = tuple(
    Attempt("never", method, path, {} if body is None else {"json": body})
    for method, path, body in (
        ("POST", "/v1/tenants", {"tenant_id": "beta", "display_name": "x"}),
        ("DELETE", OPERATORS, None),
        ("PATCH", OPERATORS, {"display_name": "x"}),
        ("GET", f"{OPERATORS}/rbac/policies", None),
        ("GET", f"{OPERATORS}/namespaces", None),
        ("POST", f"{OPERATORS}/rbac/groupings",
         {"user": "group:ops", "role": "role:cluster-admin"}),
        ("POST", f"{OPERATORS}/rbac/policies",
         {"subject": "group:ops", "object": "cluster:*", "action": "cluster.manage"}),
        ("POST", f"{OPERATORS}/idp-issuers",
         {"issuer": EVIL, "audiences": ["x"], "jwks_url": f"{EVIL}/keys"}),
        ("POST", f"{OPERATORS}/signing-keys", None),
        ("POST", f"{OPERATORS}/tokens/revoke", None),
        ("GET", "/v1/broker-credentials", None),
        ("PUT", "/v1/broker-credentials/evil", {"password": True}),
        ("DELETE", "/v1/broker-credentials/evil", None),
        ("GET", "/v1/cluster", None),
        ("GET", "/v1/cluster/backup", None),
        ("POST", "/v1/cluster/feature-level", {"level": 2}),
        ("POST", "/v1/cluster/leadership/transfer", {}),
        ("GET", "/v1/tenants/snapshot", None),
        ("GET", "/v1/metadata/snapshot", None),
        ("GET", "/v1/metadata/watch", None),
        ("GET", "/v1/audit?tenant=felix-operators", None),
    )
)  # fmt: skip


def any_attempt(world: World, state: State) -> Attempt:
    """Make up a request."""
    makers: tuple[Callable[[World, State], Attempt], ...] = (
        *[_rule] * 6, *[_assignment] * 6, *[_acl] * 3, *[_issuer] * 2, _forgotten_issuer, _key,
        _revocation, *[_namespace] * 2, *[_stream_or_cache] * 3, _tenant,
        *[lambda world, _: world.chance.choice(NEVER)] * 2,
    )  # fmt: skip
    made = world.chance.choice(makers)(world, state)
    if world.chance.random() < 0.1 and made.method != "GET":
        headers = {"Idempotency-Key": world.chance.choice("kl")}
        return msgspec.structs.replace(made, request=made.request | {"headers": headers})
    return made


def _rule(world: World, state: State) -> Attempt:
    if world.chance.random() < 0.3 and state.view.policies:
        old = world.chance.choice(state.view.policies)
        params = {"subject": old.subject, "object": old.object, "action": old.action}
        return Attempt("rules", "DELETE", POLICIES, {"params": params})
    return Attempt("rules", "POST", POLICIES, {"json": msgspec.to_builtins(world.any_rule())})


def _assignment(world: World, state: State) -> Attempt:
    if world.chance.random() < 0.3 and state.view.groupings:
        old = world.chance.choice(state.view.groupings)
        params = {"user": old.user, "role": old.role}
        return Attempt("assignments", "DELETE", GROUPINGS, {"params": params})
    body = msgspec.to_builtins(world.any_assignment())
    return Attempt("assignments", "POST", GROUPINGS, {"json": body})


def _acl(world: World, _: State) -> Attempt:
    choice = world.chance.choice
    path = f"{ACME}/namespaces/{choice('ab')}/acls"
    about = {"principal": world.any_subject(), "resource": choice("ab*")}
    if world.chance.random() < 0.3:
        return Attempt("rules", "DELETE", path, {"params": about})
    permissions = choice((["PUBLISH"], ["ADMIN"], ["CACHE_READ", "SUBSCRIBE"]))
    return Attempt("rules", "PUT", path, {"json": about | {"permissions": permissions}})


def _issuer(world: World, _: State) -> Attempt:
    choice = world.chance.choice
    issuer = EVIL if world.chance.random() < 0.7 else world.realm.idp.issuer
    body = {
        "issuer": issuer, "audiences": ["felix-controlplane"], "jwks_url": f"{EVIL}/keys",
        "claim_mappings": {"subject_claim": "sub", "groups_claim": choice(("groups", None))},
        "plain_groups": choice((True, False)),
    }  # fmt: skip
    return Attempt("issuer", "POST", ISSUERS, {"json": body}, ("tenant.manage", WHOLE))


def _forgotten_issuer(world: World, _: State) -> Attempt:
    issuer = EVIL if world.chance.random() < 0.8 else world.realm.idp.issuer
    params = {"issuer": issuer}
    return Attempt("issuer", "DELETE", ISSUERS, {"params": params}, ("tenant.manage", WHOLE))


def _key(world: World, state: State) -> Attempt:
    kid = world.chance.choice(state.view.keys).kid
    method, path, request = world.chance.choice((
        ("POST", KEYS, {}), ("POST", f"{KEYS}/{kid}/activate", {"json": {"force": True}}),
        ("DELETE", f"{KEYS}/{kid}", {}),
        ("DELETE", f"{KEYS}/{kid}", {"params": {"revoke": "true"}}), ("GET", KEYS, {}),
    ))  # fmt: skip
    return Attempt("simple", method, path, request, ("tenant.manage", WHOLE))


def _revocation(world: World, _: State) -> Attempt:
    whose = world.principal(world.chance.choice(PEOPLE))
    path = f"{ACME}/principals/{whose}/revoke"
    if world.chance.random() < 0.2:
        path = f"{ACME}/tokens/revoke"
    return Attempt("simple", "POST", path, {}, ("rbac.assignment.manage", WHOLE))


def _namespace(world: World, _: State) -> Attempt:
    name = world.chance.choice("ab")
    path, needed = f"{ACME}/namespaces", ("ns.manage", f"namespace:acme/{name}")
    body = {"namespace": name, "display_name": name}
    method, path, request = world.chance.choice((
        ("POST", path, {"json": body}), ("DELETE", f"{path}/{name}", {}),
        ("PATCH", f"{path}/{name}", {"json": {"display_name": "x"}}),
    ))  # fmt: skip
    return Attempt("simple", method, path, request, needed)


def _stream_or_cache(world: World, _: State) -> Attempt:
    choice = world.chance.choice
    kind, place, name = choice(("stream", "cache")), choice("ab"), choice("ab")
    base = f"{ACME}/namespaces/{place}/{kind}s"
    body = {kind: name, "display_name": name} | ({"shards": 1} if kind == "stream" else {})
    patch = {"display_name": "x"} if kind == "cache" else {"delivery": "AtMostOnce"}
    method, path, request = choice((
        ("POST", base, {"json": body}), ("POST", base, {"json": body}),
        ("PATCH", f"{base}/{name}", {"json": patch}), ("DELETE", f"{base}/{name}", {}),
    ))  # fmt: skip
    return Attempt(
        "simple", method, path, request, (f"{kind}.manage", f"{kind}:acme/{place}/{name}")
    )


def _tenant(world: World, _: State) -> Attempt:
    body = {"display_name": world.chance.choice("xyz")}
    return Attempt("simple", "PATCH", ACME, {"json": body}, ("tenant.manage", WHOLE))
