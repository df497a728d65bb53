"""Lives of a tenant in which everybody tries their luck; what should not be is listed."""

from __future__ import annotations

import base64
import random
from collections import Counter
from typing import Any, Final

from falcon.testing import TestClient

from felix.http.bootstrap import create_bootstrap_app
from tests.http.helpers import Kept
from tests.http.realm import ACME, GROUPINGS, KEYS, POLICIES, Realm
from tests.support.escalation import (
    EVIL,
    PEOPLE,
    State,
    Token,
    World,
    changed_outside,
    of_all,
    reach,
)
from tests.support.escalation_calls import WHOLE, Attempt, any_attempt
from tests.support.idp_server import IdpServer
from tests.support.rights_model import ACTIONS_ON, THINGS, Atom, inside

STEPS: Final = 40
DAY_ZERO: Final = "the-token-of-day-zero"
_DELEGATING: Final = {"rules": "rbac.policy.manage", "assignments": "rbac.assignment.manage"}


class Search:
    """One life."""

    def __init__(self, idp: IdpServer, seed: int) -> None:
        self.chance = random.Random(seed)
        self.needs_cluster = self.chance.random() < 0.5
        realm = Realm(
            idp, issuer_changes_need_cluster=self.needs_cluster, bootstrap_tokens=(DAY_ZERO,)
        )
        self.bootstrap = TestClient(create_bootstrap_app(realm.plane, realm.settings, Kept()))
        self.world = World(realm, self.chance, needs_cluster=self.needs_cluster)
        self.refresh_tokens: list[Token] = []
        self.done: Counter[str] = Counter()
        """What was accepted, by kind."""
        self.trace: list[str] = []

    def live(self) -> list[str]:
        """Go on until something is wrong, or to the end; list what is."""
        for _ in range(STEPS):
            dice = self.chance.random()
            found = (
                self.refresh()
                if dice < 0.1
                else self.look()
                if dice < 0.25
                else self.knock()
                if dice < 0.28
                else self.act()
            )
            if found:
                return found
        return []

    # --- changing things ----------------------------------------------------------------------

    def act(self) -> list[str]:
        """Let somebody try something."""
        before = self.world.state()
        token, wrong = self.world.any_token(before)
        if token is None or wrong:
            return wrong
        attempt = any_attempt(self.world, before)
        request = dict(attempt.request)
        request["headers"] = dict(request.get("headers", {}))
        result = self.world.realm.as_(token.text, attempt.method, attempt.path, **request)
        status, after = result.status_code, self.world.state()
        where = (
            f"{token.person.name}: {attempt.method} {attempt.path} {attempt.request} -> {status}"
        )
        self.trace.append(where)
        rights = self.world.worth(token, before)
        if status < 400:
            self.done[attempt.kind] += 1
            found = self._of_accepted(attempt, token, rights, before, after)
        else:
            found = [] if after.digests == before.digests else ["refused, and something changed"]
            if status >= 500 or (attempt.needed in rights and status in {401, 403}):
                found += [] if attempt.kind == "issuer" else ["refused without reason"]
        return [f"{where}: {what}" for what in found]

    def _of_accepted(
        self, attempt: Attempt, token: Token, rights: frozenset[Atom], before: State, after: State
    ) -> list[str]:
        if attempt.kind in _DELEGATING:
            things = reach(rights, _DELEGATING[attempt.kind])
            if not things:
                return ["without any right to"]
            return changed_outside(before, after, things)
        if attempt.needed not in rights:
            return [f"without {attempt.needed}"]
        self._void(attempt)
        if after.held != before.held:
            return ["rules have changed"]
        return self._of_issuer(attempt, before, after) if attempt.kind == "issuer" else []

    def _of_issuer(self, attempt: Attempt, before: State, after: State) -> list[str]:
        """Where only operators change whom a tenant trusts, a new one brings nobody's rights."""
        if not self.needs_cluster:
            return []
        if attempt.method == "DELETE" or [
            one for one in before.view.issuers if one not in after.view.issuers
        ]:
            return ["trust has changed without an operator"]
        (eve,) = (one for one in PEOPLE if one.is_of_evil)
        own = of_all(after.held, self.world.subjects(eve, after.view, with_plain=False))
        return [f"eve gained {atom}" for atom in sorted(after.people["eve"] - own)[:3]]

    def _void(self, attempt: Attempt) -> None:
        """Take note of what ends refresh tokens."""
        target = attempt.path.split("/")
        for one in self.refresh_tokens:
            is_of = EVIL if one.person.is_of_evil else self.world.realm.idp.issuer
            is_forgotten = (attempt.kind, attempt.method) == ("issuer", "DELETE") and (
                attempt.request["params"]["issuer"] == is_of
            )
            is_revoked = target[-1] == "revoke" and (
                target[-2] in {"tokens", self.world.principal(one.person)}
            )
            if one.family and (is_forgotten or is_revoked):
                one.family.clear()

    def knock(self) -> list[str]:
        """Try the bootstrap listener: with its own token too it does nothing for a second time."""
        state, mine = self.world.state(), [one.text for one in self.world.tokens]
        given = self.chance.choice([DAY_ZERO, "", "guessed", *mine[-2:]])
        whose = self.chance.choice(("acme", "felix-operators"))
        body = {
            "display_name": "x", "idp_issuers": [],
            "initial_admin_principals": [self.world.principal(PEOPLE[0])],
        }  # fmt: skip
        result = self.bootstrap.simulate_post(
            f"/internal/bootstrap/tenants/{whose}/initialize",
            json=body,
            headers={"X-Felix-Bootstrap-Token": given, "Authorization": f"Bearer {given}"},
        )
        self.done["knock"] += 1
        expected = {409, 429} if given == DAY_ZERO else {401, 429}
        if result.status_code in expected and self.world.state().digests == state.digests:
            return []
        return [f"bootstrap of {whose} with {given!r}: {result.status_code}"]

    # --- refresh tokens -----------------------------------------------------------------------

    def refresh(self) -> list[str]:
        """Get a refresh token, or use one that may have been used before."""
        if not self.refresh_tokens or self.chance.random() < 0.4:
            person = self.chance.choice(PEOPLE)
            body: dict[str, Any] = {"refresh": True}
            if self.chance.random() < 0.5:
                body["requested"] = ["stream.publish", "rbac.view", "rbac.policy.manage"]
            result = self.world.exchange(person, body)
            if result.status_code == 200:
                self._keep(self.world.read(person, result.json["felix_token"]), result.json, [])
            return []
        return self._use(self.chance.choice(self.refresh_tokens))

    def _keep(self, token: Token, said: dict[str, Any], family: list[str]) -> None:
        family[:] = [said["refresh_token"]]
        kept = Token(token.person, family[0], token.atoms, "", token.iat_ms, token.groups, family)
        self.refresh_tokens.append(kept)

    def _use(self, old: Token) -> list[str]:
        state, family = self.world.state(), old.family
        assert family is not None
        is_good = family == [old.text]
        result = self.world.realm.client.post(f"{ACME}/token/refresh", {"refresh_token": old.text})
        where = f"refresh of {old.person.name} -> {result.status_code}"
        self.trace.append(where)
        if result.status_code != 200:
            family.clear()
            return [where] if result.status_code != 401 and not is_good else []
        if not is_good:
            return [f"{where}, though it was used or void"]
        self.done["refresh"] += 1
        token = self.world.read(old.person, result.json["felix_token"])
        issuer = self.world.issuer_of(old.person)
        row = next((one for one in state.view.issuers if one.issuer == issuer), None)
        is_plain = row is not None and (row.plain_groups or len(state.view.issuers) == 1)
        groups = [one for one in old.groups if one.startswith(f"group:{issuer}#") or is_plain]
        due = old.atoms & of_all(state.held, (self.world.principal(old.person), *groups))
        if token.atoms != due:
            return [f"{where} gives {sorted(token.atoms ^ due)[:3]}"]
        again = Token(old.person, "", old.atoms, "", token.iat_ms, old.groups)
        self._keep(again, result.json, family)
        self.world.tokens.append(token)
        return []

    # --- looking at things --------------------------------------------------------------------

    def look(self) -> list[str]:
        """Let somebody list everything; say what is there too much, or is missing."""
        state = self.world.state()
        token, wrong = self.world.any_token(state)
        if token is None or wrong:
            return wrong
        self.done["look"] += 1
        rights = self.world.worth(token, state)
        view = reach(rights, "rbac.view")
        rules = [one for one in state.view.policies if inside(one.object) <= view]
        roles = {one.subject for one in rules}
        seen: dict[str, tuple[bool, Any]] = {
            POLICIES: (bool(view), sorted((r.subject, r.object, r.action) for r in rules)),
            GROUPINGS: (bool(view), sorted(
                (one.user, one.role) for one in state.view.groupings
                if one.role in roles or WHOLE in view
            )),
            KEYS: (("tenant.manage", WHOLE) in rights, sorted(one.kid for one in state.view.keys)),
        }  # fmt: skip
        found = [
            f"{path}: {what}"
            for path, (is_allowed, due) in seen.items()
            for what in self._compare(token, path, is_allowed, due)
        ]
        things = {thing for _, thing in rights}
        found += self._listed(token, things) + self._questions(token, rights, state)
        audit = self._get(token, "/v1/audit?page_size=20")
        if (audit is not None) != (WHOLE in view):
            found.append("the audit trail")
        elif audit is not None and {one["tenant"] for one in audit["items"]} - {"acme"}:
            found.append("the audit trail of others")
        return [f"{token.person.name} looks: {what}" for what in found]

    def _compare(self, token: Token, path: str, is_allowed: bool, due: object) -> list[str]:
        said = self._get(token, path)
        if (said is not None) != is_allowed:
            return ["shown" if said is not None else "not shown"]
        if said is None:
            return []
        rows = said["items"] if isinstance(said, dict) else said
        shown = sorted(
            one["kid"] if "kid" in one else tuple(one[name] for name in sorted(one, key=_column))
            for one in rows
        )
        return [] if shown == due else [f"{shown} and not {due}"]

    def _listed(self, token: Token, things: set[str]) -> list[str]:
        """Walk through all lists in pages of one; neither items nor page tokens may tell more."""
        places = [("tenants", "/v1/tenants", "tenant_id", ""), (
            "namespaces", f"{ACME}/namespaces", "namespace", "tenant:acme",
        )]  # fmt: skip
        for name in "ab":
            for kind in ("streams", "caches"):
                path = f"{ACME}/namespaces/{name}/{kind}"
                places.append((kind, path, kind[:-1], f"namespace:acme/{name}"))
        found = []
        for kind, path, member, parent in places:
            may = not parent or _sees(things, parent)  # the list of tenants may be empty
            below = parent.partition(":")[2]
            prefix = f"{kind[:-1]}:{below}/" if below else "tenant:"
            page = self._get(token, f"{path}?page_size=1")
            if page is not None and not may:
                found.append(f"{path} is shown")
            while page is not None:
                names = [one[member] for one in page["items"]] + _told(page["next_page_token"])
                found += [
                    f"{path} shows {name}"
                    for name in names
                    if prefix + name not in THINGS or not _sees(things, prefix + name)
                ]
                if found or not page["next_page_token"]:
                    break
                page = self._get(token, f"{path}?page_size=1&page_token={page['next_page_token']}")
        return found

    def _questions(self, token: Token, rights: frozenset[Atom], state: State) -> list[str]:
        """Ask what somebody else may do: answered truly, and only where one may view rules."""
        found = []
        for _ in range(3):
            thing = self.chance.choice(sorted(one for one in THINGS if ":acme" in one))
            action = self.chance.choice(sorted(ACTIONS_ON[thing.partition(":")[0]]))
            subject = self.world.any_subject()
            path = f"{ACME}/rbac/can-i"
            query = {"principal": subject, "action": action, "object": thing}
            result = self.world.realm.as_(token.text, "GET", path, params=query)
            if (result.status_code == 200) != (("rbac.view", thing) in rights):
                found.append(f"can-i {query}: {result.status_code}")
            elif result.status_code == 200:
                truth = (action, thing) in state.held.get(subject, frozenset())
                found += [f"can-i {query}"] if result.json["allowed"] != truth else []
        return found

    def _get(self, token: Token, path: str) -> Any:
        result = self.world.realm.as_(token.text, "GET", path)
        if result.status_code not in {200, 401, 403, 404}:
            return {"items": [], "next_page_token": "", "status": result.status_code}
        return result.json if result.status_code == 200 else None


def _column(name: str) -> int:
    return ("subject", "user", "object", "role", "action").index(name)


def _told(page_token: str) -> list[str]:
    """Read the name that a page token has in it."""
    if not page_token:
        return []
    return [base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))[1:].decode()]


def _sees(things: set[str], thing: str) -> bool:
    """Tell whether somebody with rights on some things knows of one: it is in it, or around it."""
    return any(one in inside(thing) or thing in inside(one) for one in things)


def search(idp: IdpServer, first: int, lives: int) -> tuple[list[str], Counter[str]]:
    """Live many lives; stop at the first in which something is wrong, and say how it came."""
    done: Counter[str] = Counter()
    for seed in range(first, first + lives):
        one = Search(idp, seed)
        found = one.live()
        done += one.done
        if found:
            return [f"seed {seed}, cluster {one.needs_cluster}", *one.trace[-12:], *found], done
    return [], done
