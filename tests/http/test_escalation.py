"""Random people with random rights try random calls: nobody gains what whoever gave it had not.

What may happen is said by `tests.support.rights_model`, which shares no code with what decides.
"""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from felix.proto.identity import IdentityView
from felix.proto.queries import GetTenantIdentity
from tests.http.realm import ACME, GROUPINGS, ISSUERS, KEYS, POLICIES, Realm, realm
from tests.support.rights_model import Atom, holdings, inside

Call = tuple[str, str, dict[str, Any]]
PEOPLE: Final = ("bob", "carol", "dave")
GROUPS: Final = {"bob": ["ops"], "carol": [], "dave": ["ops", "dev"]}
ROLES: Final = ("role:a", "role:b", "role:tenant-admin")
OBJECTS: Final = (
    "tenant:acme", "namespace:acme/*", "namespace:acme/a", "namespace:acme/b", "stream:acme/a/*",
    "stream:acme/a/a", "stream:acme/b/b", "cache:acme/a/*", "tenant:*", "tenant:beta",
    "stream:acme/a/a*", "cluster:*",
)  # fmt: skip
ACTIONS: Final = (
    "tenant.manage", "ns.manage", "stream.manage", "stream.publish", "cache.read", "rbac.view",
    "rbac.policy.manage", "rbac.assignment.manage", "cluster.manage",
)  # fmt: skip
DELEGATING: Final = ("rbac.policy.manage", "rbac.assignment.manage")
OUT_OF_REACH: Final[tuple[Call, ...]] = (
    ("POST", "/v1/tenants", {"json": {"tenant_id": "beta", "display_name": "x"}}),
    ("DELETE", "/v1/tenants/felix-operators", {}),
    ("PUT", "/v1/broker-credentials/evil", {"json": {"password": True}}),
    ("POST", "/v1/cluster/feature-level", {"json": {"level": 2}}),
    ("POST", "/v1/cluster/leadership/transfer", {}),
    ("GET", "/v1/cluster/backup", {}),
    ("GET", "/v1/tenants/felix-operators/rbac/policies", {}),
    ("POST", "/v1/tenants/felix-operators/rbac/groupings",
     {"json": {"user": "group:ops", "role": "role:cluster-admin"}}),
    ("POST", "/v1/tenants/felix-operators/idp-issuers", {"json": {}}),
)  # fmt: skip
WORLDS, STEPS = 24, 50


class Search:
    """One life of a tenant: who may do what to begin with, and what they try."""

    def __init__(self, world: Realm, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.admin = world.token("alice")
        self.accepted = 0
        for kind, name in (("namespaces", "namespace"), ("caches", "cache")):
            for one in ("a", "b"):
                base = f"{ACME}/namespaces" + ("/a/caches" if kind == "caches" else "")
                self.as_admin("POST", base, {name: one, "display_name": one})
        for _ in range(chance.randrange(2, 9)):
            self.as_admin("POST", POLICIES, self.any_rule())
        for person in PEOPLE:
            for action in DELEGATING:
                if chance.random() < 0.4:
                    rule = {"subject": world.principal(person), "action": action}
                    self.as_admin("POST", POLICIES, rule | {"object": chance.choice(OBJECTS[:8])})
        for _ in range(chance.randrange(4)):
            self.as_admin("POST", GROUPINGS, self.any_assignment())

    def as_admin(self, method: str, path: str, body: dict[str, Any]) -> None:
        self.world.as_(self.admin, method, path, json=body)

    def any_subject(self) -> str:
        people = [self.world.principal(one) for one in PEOPLE]
        return self.chance.choice([*people, "group:ops", "group:dev", *ROLES[:2]])

    def any_rule(self) -> dict[str, str]:
        choice = self.chance.choice
        return {
            "subject": self.any_subject(), "object": choice(OBJECTS), "action": choice(ACTIONS),
        }  # fmt: skip

    def any_assignment(self) -> dict[str, str]:
        return {"user": self.any_subject(), "role": self.chance.choice(ROLES)}

    def any_call(self) -> Call:
        choice = self.chance.choice
        name, inner = choice("ab"), choice("ab")
        acl = {
            "principal": self.any_subject(), "resource": choice(("a", "b", "*")),
            "permissions": choice((["PUBLISH"], ["ADMIN"], ["CACHE_READ", "SUBSCRIBE"])),
        }  # fmt: skip
        stream = {"stream": inner, "shards": 1, "durability": "ephemeral"}
        streams = f"{ACME}/namespaces/{name}/streams"
        issuer = {
            "issuer": "https://evil.example.test", "audiences": ["x"],
            "jwks_url": "https://evil.example.test/keys",
        }  # fmt: skip
        calls: list[Call] = [
            *[("POST", POLICIES, {"json": self.any_rule()})] * 5,
            *[("DELETE", POLICIES, {"params": self.any_rule()})] * 2,
            *[("POST", GROUPINGS, {"json": self.any_assignment()})] * 5,
            *[("DELETE", GROUPINGS, {"params": self.any_assignment()})] * 2,
            *[("PUT", f"{ACME}/namespaces/{name}/acls", {"json": acl})] * 3,
            ("POST", ISSUERS, {"json": issuer}),
            ("DELETE", ISSUERS, {"params": {"issuer": issuer["issuer"]}}),
            ("POST", KEYS, {}),
            ("POST", f"{ACME}/tokens/revoke", {}),
            ("POST", f"{ACME}/namespaces", {"json": {"namespace": name, "display_name": name}}),
            ("DELETE", f"{ACME}/namespaces/{name}", {}),
            ("POST", streams, {"json": stream}),
            ("DELETE", f"{streams}/{inner}", {}),
            ("PATCH", ACME, {"json": {"display_name": choice("xyz")}}),
            choice(OUT_OF_REACH),
        ]
        return choice(calls)

    def view(self) -> IdentityView:
        found = self.world.plane.ask(GetTenantIdentity(tenant_id="acme")).result
        assert isinstance(found, IdentityView)
        return found

    def held(self) -> dict[str, frozenset[Atom]]:
        """Say what every person and subject holds, by the rules as they stand."""
        view = self.view()
        held = holdings(
            [(one.subject, one.object, one.action) for one in view.policies],
            [(one.user, one.role) for one in view.groupings],
        )
        for person in PEOPLE:
            subjects = [self.world.principal(person)]
            if len(view.issuers) == 1:  # with more of them a group's plain name is nobody's
                subjects += [f"group:{group}" for group in GROUPS[person]]
            held[person] = frozenset().union(*(held.get(one, frozenset()) for one in subjects))
        return held

    def state(self) -> tuple[str, str]:
        catalog = self.world.plane.catalog
        return catalog.digest, catalog.rows_digest

    def step(self) -> list[str]:
        """Let somebody try something; list what should not have come of it."""
        person, call = self.chance.choice(PEOPLE), self.any_call()
        before, state = self.held(), self.state()
        traded = self.world.exchange(self.world.idp.token(person, groups=GROUPS[person]))
        if traded.status_code != 200:
            return [] if not before[person] else [f"{person} holds rights and gets no token"]
        token = traded.json["felix_token"]
        method, path, request = call
        result = self.world.as_(token, method, path, **request)
        where = f"{person}: {method} {path} {request} -> {result.status_code}"
        if result.status_code >= 500:
            return [where]
        if result.status_code >= 400:
            return [f"{where}, and something changed"] if self.state() != state else []
        if call in OUT_OF_REACH:
            return [where]
        self.accepted += 1
        return [f"{where}: {what}" for what in self.wrong(person, before, method, path)]

    def wrong(
        self, person: str, before: dict[str, frozenset[Atom]], method: str, path: str
    ) -> list[str]:
        mine = before[person]
        if path in {POLICIES, GROUPINGS} or path.endswith("/acls"):
            reach = {thing for action, thing in mine if action in DELEGATING}
            return [
                f"{subject} gained {atom}"
                for subject, atoms in self.held().items()
                for atom in atoms - before.get(subject, frozenset())
                if atom[1] not in reach
            ]
        names = path.removeprefix(f"{ACME}/").split("/")
        if names[0] == "tokens":
            needed = {("rbac.assignment.manage", "tenant:acme")}
        elif path == ACME or names[0] in {"idp-issuers", "signing-keys"}:
            needed = {("tenant.manage", "tenant:acme")}
        elif "streams" in names:
            needed = {("stream.manage", f"stream:acme/{names[1]}/{x}") for x in "ab"}
        else:
            needed = {("ns.manage", f"namespace:acme/{x}") for x in "ab"}
        return [] if mine & needed else ["without the right to"]

    def overseen(self) -> list[str]:
        """List what somebody sees in a listing without any right that leads there."""
        found = []
        for person in PEOPLE:
            traded = self.world.exchange(self.world.idp.token(person, groups=GROUPS[person]))
            if traded.status_code != 200:
                continue
            token = traded.json["felix_token"]
            listed = self.world.as_(token, "GET", f"{ACME}/namespaces").json.get("items", [])
            things = {thing for _, thing in self.held()[person]}
            found += [
                f"{person} sees {one['namespace']}"
                for one in listed
                if not things & inside(f"namespace:acme/{one['namespace']}")
            ]
        return found


@pytest.mark.parametrize("seed", range(WORLDS))
def test_s2_s3_nobody_gains_over_http_what_whoever_gave_it_could_not_give(seed: int) -> None:
    print(f"seed {seed}")
    with realm() as world:
        search = Search(world, random.Random(seed))
        for _ in range(STEPS):
            assert search.step() == []
        assert search.overseen() == []


def test_the_search_does_what_it_should_often_enough() -> None:
    accepted = 0
    for seed in range(6):
        with realm() as world:
            search = Search(world, random.Random(seed))
            for _ in range(STEPS):
                search.step()
            accepted += search.accepted
    print(f"{accepted} of {6 * STEPS} calls were accepted")
    assert accepted > 30
