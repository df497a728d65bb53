"""A tenant full of people who try whatever the API has, and a model of what may come of it.

Rights are sets of atoms (`tests.support.rights_model`); nothing here asks the code that decides. A
token is worth what it says, as far as whoever bears it still holds it.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any, Final

import jwt
import msgspec
from falcon.testing import Result

from felix.proto.commands import ChangeGroupings, ChangePolicies, CreateNamespace
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.identity import Assignment, IdentityView, Rule
from felix.proto.queries import GetTenantIdentity
from tests.http.realm import AUDIENCE, Realm
from tests.support.rights_model import Atom, as_written, holdings, inside

EVIL: Final = "https://evil.example.test"
OBJECTS: Final = (
    "tenant:acme", "namespace:acme/*", "namespace:acme/a", "namespace:acme/b", "stream:acme/a/*",
    "stream:acme/a/a", "stream:acme/b/b", "cache:acme/a/*", "cache:acme/b/a",
)  # fmt: skip
NO_OBJECTS: Final = (
    "tenant:*", "tenant:beta", "stream:acme/a/a*", "stream:acme/*/*", "cluster:*", "",
    "namespace:acme", "stream:beta/a/a", "tenant:felix-operators",
)  # fmt: skip
ACTIONS: Final = (
    "tenant.manage", "ns.manage", "stream.manage", "stream.publish", "cache.read", "cache.manage",
    "rbac.view", "rbac.policy.manage", "rbac.assignment.manage", "cluster.manage",
)  # fmt: skip
ROLES: Final = ("role:a", "role:b", "role:c", "role:tenant-admin")
NOBODY: Final[frozenset[Atom]] = frozenset()


class Person(msgspec.Struct, frozen=True):
    """Somebody whom an identity provider vouches for."""

    name: str
    groups: tuple[str, ...] = ()
    is_of_evil: bool = False
    """By the issuer that an attacker has."""


PEOPLE: Final = (
    Person("bob", ("ops",)), Person("carol"), Person("dave", ("ops", "dev")),
    Person("eve", ("ops", "dev"), is_of_evil=True),
)  # fmt: skip


class Token(msgspec.Struct, frozen=True):
    """A Felix token or a refresh token, and what it was worth when it was given out."""

    person: Person
    text: str
    atoms: frozenset[Atom]
    kid: str
    iat_ms: int
    groups: tuple[str, ...]
    family: list[str] | None = None
    """Of a refresh token: holds the one that has not been used, nothing once all are void."""


class State(msgspec.Struct, frozen=True):
    """What the tenant has at one moment, and what everybody holds by that."""

    view: IdentityView
    digests: tuple[str, str]
    held: dict[str, frozenset[Atom]]
    """By subject."""
    people: dict[str, frozenset[Atom]]
    """By name."""


class World:
    """One life of the tenant `acme`."""

    def __init__(self, realm: Realm, chance: random.Random, *, needs_cluster: bool) -> None:
        self.realm = realm
        self.chance = chance
        self.needs_cluster = needs_cluster
        """Whether only operators change whom the tenant trusts."""
        self.tokens: list[Token] = []
        for name in "ab":
            realm.apply(CreateNamespace(tenant_id="acme", namespace=name))
        for _ in range(chance.randrange(3, 10)):
            self._apply(ChangePolicies(tenant_id="acme", add=(self.any_rule(),)))
        for _ in range(chance.randrange(5)):
            self._apply(ChangeGroupings(tenant_id="acme", add=(self.any_assignment(),)))
        for role, above in ((ROLES[0], ROLES[1]), (ROLES[1], ROLES[2])):
            if chance.random() < 0.6:
                rule = Rule(above, chance.choice(OBJECTS), chance.choice(ACTIONS))
                self._apply(ChangePolicies(tenant_id="acme", add=(rule,)))
                self._apply(ChangeGroupings(tenant_id="acme", add=(Assignment(role, above),)))
        for person in PEOPLE[:3]:
            for action in (*ACTIONS[-4:-1], *ACTIONS[:2]):
                if chance.random() < 0.5:
                    rule = Rule(self.principal(person), chance.choice(OBJECTS[:5]), action)
                    self._apply(ChangePolicies(tenant_id="acme", add=(rule,)))

    def _apply(self, command: Any) -> None:
        try:
            self.realm.apply(command)
        except FelixError:
            return  # what no rule can say

    # --- making things up ---------------------------------------------------------------------

    def any_subject(self) -> str:
        """Name a person, a group in one of its two ways, or a role."""
        issuers = ("", f"{EVIL}#", f"{self.realm.idp.issuer}#")
        groups = [f"group:{issuer}{name}" for issuer in issuers for name in ("ops", "dev")]
        return self.chance.choice([*map(self.principal, PEOPLE), *groups[:3], *groups, *ROLES[:3]])

    def any_rule(self) -> Rule:
        """Make up a rule; one in eight says what none can."""
        choice = self.chance.choice
        target = choice(NO_OBJECTS if self.chance.random() < 0.12 else OBJECTS)
        return Rule(self.any_subject(), target, choice(ACTIONS))

    def any_assignment(self) -> Assignment:
        """Make up an assignment; rarely to what is no role."""
        chance = self.chance
        role = self.any_subject() if chance.random() < 0.1 else chance.choice(ROLES)
        return Assignment(self.any_subject(), role)

    # --- the model ----------------------------------------------------------------------------

    def issuer_of(self, person: Person) -> str:
        """Say who vouches for somebody."""
        return EVIL if person.is_of_evil else self.realm.idp.issuer

    def principal(self, person: Person) -> str:
        """Name somebody as rules do."""
        return hashlib.sha256(f"{self.issuer_of(person)}|{person.name}".encode()).hexdigest()

    def state(self) -> State:
        """Look at the tenant."""
        view = self.realm.plane.ask(GetTenantIdentity(tenant_id="acme"), Call()).result
        assert isinstance(view, IdentityView)
        held = holdings(
            [(one.subject, one.object, one.action) for one in view.policies],
            [(one.user, one.role) for one in view.groupings],
        )
        people = {
            one.name: of_all(held, self.subjects(one, view, with_plain=None)) for one in PEOPLE
        }
        catalog = self.realm.plane.catalog
        return State(view, (catalog.digest, catalog.identity_digest), held, people)

    def subjects(
        self, person: Person, view: IdentityView, *, with_plain: bool | None
    ) -> tuple[str, ...]:
        """List what rules can call somebody; `with_plain` None: as the tenant's issuers say."""
        issuer = self.issuer_of(person)
        row = next((one for one in view.issuers if one.issuer == issuer), None)
        if row is None:
            return ()
        plain = row.plain_groups or len(view.issuers) == 1 if with_plain is None else with_plain
        groups = person.groups if row.groups_claim else ()
        return (
            self.principal(person),
            *(f"group:{issuer}#{name}" for name in groups),
            *(f"group:{name}" for name in groups if plain),
        )

    def worth(self, token: Token, state: State) -> frozenset[Atom]:
        """Say what a token is good for now."""
        view, issuer = state.view, self.issuer_of(token.person)
        principal = self.principal(token.person)
        row = next((one for one in view.issuers if one.issuer == issuer), None)
        if row is None or (token.kid and token.kid not in {one.kid for one in view.keys}):
            return NOBODY
        short = f"issuer:{hashlib.sha256(issuer.encode()).hexdigest()[:12]}"
        for one in view.revocations:
            if one.principal in {principal, short, "*"} and token.iat_ms <= one.before_ms:
                return NOBODY
        plain = row.plain_groups or len(view.issuers) == 1
        groups = [one for one in token.groups if one.startswith(f"group:{issuer}#") or plain]
        return token.atoms & of_all(state.held, (principal, *groups))

    # --- tokens -------------------------------------------------------------------------------

    def exchange(self, person: Person, body: dict[str, Any]) -> Result:
        """Trade in the word of whoever vouches for somebody."""
        groups = list(person.groups)
        upstream = self.realm.idp.token(
            person.name, groups=groups, iss=self.issuer_of(person), audience=AUDIENCE
        )
        return self.realm.exchange(upstream, body)

    def read(self, person: Person, text: str) -> Token:
        """Read what a Felix token says."""
        said = jwt.decode(text, options={"verify_signature": False})
        atoms = frozenset(atom for one in said["perms"] for atom in as_written(one))
        kid = jwt.get_unverified_header(text)["kid"]
        groups = tuple(said.get("grp", ()))
        return Token(person, text, atoms, kid, said["iat"] * 1000, groups)

    def any_token(self, state: State) -> tuple[Token | None, list[str]]:
        """Get somebody a token, narrowed or not, or take an old one; list what is wrong with it."""
        chance = self.chance
        if self.tokens and chance.random() < 0.25:
            return chance.choice(self.tokens), []
        person, body = chance.choice(PEOPLE), dict[str, Any]()
        if chance.random() < 0.3:
            body["requested"] = chance.sample(ACTIONS, chance.randrange(1, 6))
        if chance.random() < 0.3:
            body["resources"] = chance.sample(OBJECTS, chance.randrange(1, 4))
        body["audience"] = chance.choice(("felix-broker", "felix-controlplane"))
        result = self.exchange(person, body)
        due = narrowed(state.people[person.name], body)
        if result.status_code != 200:
            where = f"{person.name} is refused a token for {body}: {result.text}"
            return None, [where] if due or result.status_code != 403 else []
        token = self.read(person, result.json["felix_token"])
        self.tokens = [*self.tokens[-11:], token]
        if token.atoms == due:
            return token, []
        return token, [f"{person.name} asks for {body} and gets {sorted(token.atoms ^ due)[:3]}"]


def narrowed(held: frozenset[Atom], body: dict[str, Any]) -> frozenset[Atom]:
    """Say what is left of rights by what an exchange asks for."""
    things = {thing for hint in body.get("resources", ()) for thing in inside(hint)}
    return frozenset(
        (action, thing)
        for action, thing in held
        if action in body.get("requested", (action,))
        and ("resources" not in body or thing in things)
    )


def of_all(held: dict[str, frozenset[Atom]], subjects: tuple[str, ...]) -> frozenset[Atom]:
    """Give what subjects hold together."""
    return frozenset().union(*(held.get(one, NOBODY) for one in subjects))


def reach(rights: frozenset[Atom], action: str) -> frozenset[str]:
    """List the things on which somebody has an action."""
    return frozenset(thing for one, thing in rights if one == action)


def changed_outside(before: State, after: State, things: frozenset[str]) -> list[str]:
    """List who gained or lost anything on a thing that is none of these."""
    return sorted(
        f"{subject} {'gained' if atom in mine else 'lost'} {atom}"
        for then, now in ((before.held, after.held), (before.people, after.people))
        for subject in {**then, **now}
        for mine in (now.get(subject, NOBODY),)
        for atom in mine ^ then.get(subject, NOBODY)
        if atom[1] not in things
    )
