"""What a node knows of identity providers' keys, and who waits for it (design, chapter 9).

Pure: time comes in, fetches and answers go out. `take_fetches` and `take_answers` say what follows
from every call.
"""

from __future__ import annotations

from typing import Final

import msgspec

from felix.core.auth.documents import Documents, Held, Unavailable
from felix.core.auth.idp_documents import (
    BadDocument,
    Discovery,
    KeySet,
    discovery_url,
    mismatch,
    read_discovery,
    read_key_set,
)
from felix.proto.errors import FelixError, IdpUnavailable, Overloaded
from felix.proto.identity import Jwks

WAITING_MAX: Final = 1024
"""Requests that wait for a fetch; one more is refused."""


class KeySource(msgspec.Struct, frozen=True):
    """Where an identity provider's keys are, as a tenant has configured it."""

    issuer: str
    discovery_url: str | None = None
    jwks_url: str | None = None


class DocumentFetch(msgspec.Struct, frozen=True):
    """Fetch this; `is_discovery` comes back with the result."""

    url: str
    is_discovery: bool


class IdpAnswer(msgspec.Struct, frozen=True):
    """The end of a request."""

    ticket: int
    result: Jwks | FelixError


class _Waiting(msgspec.Struct):
    ticket: int
    source: KeySource
    missing_kid: str
    deadline: float
    jwks_url: str | None


class IdpCache:
    """Discovery documents and key sets by URL, for all tenants of a node."""

    def __init__(
        self,
        discoveries: Documents[Discovery] | None = None,
        key_sets: Documents[KeySet] | None = None,
    ) -> None:
        self._discoveries = Documents[Discovery]() if discoveries is None else discoveries
        self._key_sets = Documents[KeySet]() if key_sets is None else key_sets
        self._waiting: dict[DocumentFetch, list[_Waiting]] = {}
        self._waiting_count = 0
        self._answers: list[IdpAnswer] = []

    @property
    def urls(self) -> int:
        """How many URLs something is known of."""
        return len(self._discoveries) + len(self._key_sets)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._waiting_count

    def ask(
        self, ticket: int, source: KeySource, missing_kid: str, now: float, deadline: float
    ) -> None:
        """Take a request for an issuer's keys; it is answered at the latest at its deadline."""
        self._go_on(_Waiting(ticket, source, missing_kid, deadline, source.jwks_url), now)

    def arrived(self, fetch: DocumentFetch, body: bytes, now: float) -> None:
        """Take in what a fetch has brought; a document that cannot be used is none."""
        try:
            if fetch.is_discovery:
                discovery = read_discovery(body)
                self._discoveries.arrived(fetch.url, discovery, len(body), now)
            else:
                self._key_sets.arrived(fetch.url, read_key_set(body), len(body), now)
        except BadDocument as error:
            self.failed(fetch, str(error), now)
        else:
            self._wake(fetch, now)

    def failed(self, fetch: DocumentFetch, problem: str, now: float) -> None:
        """Hear that a fetch has brought nothing."""
        documents = self._discoveries if fetch.is_discovery else self._key_sets
        documents.failed(fetch.url, problem, now)
        self._wake(fetch, now)

    def sweep(self, now: float) -> None:
        """Answer those who have waited as long as they may, with what there is."""
        for fetch, waiting in list(self._waiting.items()):
            late = [one for one in waiting if one.deadline <= now]
            if late:
                kept = [one for one in waiting if one.deadline > now]
                self._waiting[fetch] = kept
                self._waiting_count -= len(late)
            for one in late:
                held = self._last_known(one, now)
                error = _unavailable("it did not answer in time", 1.0)
                self._answer(one, error if held is None else _jwks(held, is_stale=True))

    def take_fetches(self) -> list[DocumentFetch]:
        """Say what must be fetched now."""
        found = [DocumentFetch(url, is_discovery=True) for url in self._discoveries.begun]
        found += [DocumentFetch(url, is_discovery=False) for url in self._key_sets.begun]
        self._discoveries.begun.clear()
        self._key_sets.begun.clear()
        return found

    def take_answers(self) -> list[IdpAnswer]:
        """Say who is answered now."""
        answers, self._answers = self._answers, []
        return answers

    # --- the way of a request -----------------------------------------------------------------

    def _go_on(self, one: _Waiting, now: float) -> None:
        """Answer a request, or let it wait for what is being fetched."""
        if one.jwks_url is None and not self._discover(one, now):
            return
        url = one.jwks_url
        assert url is not None
        fetch = DocumentFetch(url, is_discovery=False)
        found = self._key_sets.look(url, now)
        if found == "wait":
            one.missing_kid = ""  # a fetch that is on its way brings it, or nobody has it
            self._wait(one, fetch)
        elif isinstance(found, Unavailable):
            self._answer(one, _unavailable(found.problem, found.retry_s))
        elif self._lacks(found.value, one) and self._key_sets.renew(url, now):
            one.missing_kid = ""
            self._wait(one, fetch)
        else:
            self._answer(one, _jwks(found))

    def _discover(self, one: _Waiting, now: float) -> bool:
        """Find out where the keys are; False: the request waits, or is answered."""
        source = one.source
        url = _discovery_url(source)
        found = self._discoveries.look(url, now)
        if found == "wait":
            self._wait(one, DocumentFetch(url, is_discovery=True))
            return False
        if isinstance(found, Unavailable):
            self._answer(one, _unavailable(found.problem, found.retry_s))
            return False
        problem = mismatch(source.issuer, found.value)
        if problem:
            self._answer(one, _unavailable(problem, 1.0))
            return False
        one.jwks_url = found.value.jwks_uri
        return True

    def _last_known(self, one: _Waiting, now: float) -> Held[KeySet] | None:
        """Find the keys as far as they are known, whatever is being fetched."""
        if one.jwks_url is None:
            found = self._discoveries.peek(_discovery_url(one.source), now)
            if found is None or mismatch(one.source.issuer, found.value):
                return None
            one.jwks_url = found.value.jwks_uri
        return self._key_sets.peek(one.jwks_url, now)

    @staticmethod
    def _lacks(keys: KeySet, one: _Waiting) -> bool:
        return bool(one.missing_kid) and one.missing_kid not in keys.kids

    def _wait(self, one: _Waiting, fetch: DocumentFetch) -> None:
        if self._waiting_count >= WAITING_MAX:
            busy = Overloaded("too many requests wait for identity providers", retry_after_ms=500)
            self._answer(one, busy)
            return
        self._waiting.setdefault(fetch, []).append(one)
        self._waiting_count += 1

    def _wake(self, fetch: DocumentFetch, now: float) -> None:
        waiting = self._waiting.pop(fetch, [])
        self._waiting_count -= len(waiting)
        for one in waiting:
            self._go_on(one, now)

    def _answer(self, one: _Waiting, result: Jwks | FelixError) -> None:
        self._answers.append(IdpAnswer(one.ticket, result))


def _discovery_url(source: KeySource) -> str:
    return source.discovery_url or discovery_url(source.issuer)


def _jwks(held: Held[KeySet], *, is_stale: bool = False) -> Jwks:
    return Jwks(
        document=held.value.document,
        age_ms=int(held.age_s * 1000),
        is_stale=is_stale or held.is_stale,
    )


def _unavailable(problem: str, retry_s: float) -> IdpUnavailable:
    return IdpUnavailable(
        f"the identity provider cannot be asked: {problem}", retry_after_ms=int(retry_s * 1000) + 1
    )
