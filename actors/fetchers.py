"""The threads that wait for identity providers, so that no actor has to."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from felix.actors.messages import ProbeProvider
from felix.core.auth import idp_documents
from felix.core.auth.idp_cache import DocumentFetch
from felix.core.auth.idp_documents import SHOWN_CHARS_MAX, BadDocument, Discovery
from felix.proto.identity import IssuerProbe
from felix.transport.outbound import FetchFailed, Outbound

THREADS: Final = 8
QUEUED_MAX: Final = 256


class ProbeJob(msgspec.Struct, frozen=True):
    """A probe, and until when it may take, in `time.monotonic` seconds."""

    probe: ProbeProvider
    deadline: float


Job: TypeAlias = DocumentFetch | ProbeJob


class Fetched(msgspec.Struct, frozen=True):
    """A fetch has ended."""

    fetch: DocumentFetch
    body: bytes | None
    reason: str = "ok"
    problem: str = ""


class Probed(msgspec.Struct, frozen=True):
    """A probe has ended."""

    probe: ProbeProvider
    result: IssuerProbe
    reasons: tuple[str, ...]
    """How each of its fetches went."""


class Broken(msgspec.Struct, frozen=True):
    """A thread met an error that is ours."""

    error: BaseException


class Fetchers:
    """A bounded number of threads that fetch; what comes of it is told."""

    def __init__(
        self, outbound: Outbound, tell: Callable[[Fetched | Probed | Broken], None]
    ) -> None:
        """`tell` is called in any of the threads."""
        self._outbound = outbound
        self._tell = tell
        self._jobs: queue.Queue[Job | None] = queue.Queue(QUEUED_MAX)
        self._has_threads = False

    def submit(self, job: Job) -> bool:
        """Have a job done; False if too many are waiting."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        if not self._has_threads:
            self._has_threads = True
            for _ in range(THREADS):
                threading.Thread(target=self._run, name="idp-fetch", daemon=True).start()
        return True

    def stop(self) -> None:
        """Let the threads end; one that waits for a provider does so when that is over."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        for _ in range(THREADS):
            self._jobs.put(None)

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                self._tell(self._do(job))
        except BaseException as error:  # noqa: BLE001 - the actor fails of it, and is started anew
            self._tell(Broken(error))

    def _do(self, job: Job) -> Fetched | Probed:
        if isinstance(job, ProbeJob):
            return self._probe(job)
        try:
            return Fetched(job, self._outbound.get_json(job.url))
        except FetchFailed as error:
            return Fetched(job, None, error.reason, error.message)

    def _probe(self, job: ProbeJob) -> Probed:
        """Ask a provider who it is; nothing of it is kept."""
        query, jwks_url = job.probe.query, job.probe.query.jwks_url
        discovery: Discovery | None = None
        reasons: list[str] = []
        try:
            if jwks_url is None:
                url = query.discovery_url or idp_documents.discovery_url(query.issuer)
                discovery = idp_documents.read_discovery(self._get(url, job.deadline, reasons))
                jwks_url = discovery.jwks_uri
            body = self._get(jwks_url, job.deadline, reasons)
            result = idp_documents.probe(query.issuer, discovery, jwks_url, body)
        except (FetchFailed, BadDocument) as error:
            result = IssuerProbe(
                found_issuer=None if discovery is None else discovery.issuer[:SHOWN_CHARS_MAX],
                jwks_url=jwks_url,
                problem=str(error)[:SHOWN_CHARS_MAX],
            )
        return Probed(job.probe, result, tuple(reasons))

    def _get(self, url: str, deadline: float, reasons: list[str]) -> bytes:
        try:
            body = self._outbound.get_json(url, deadline)
        except FetchFailed as error:
            reasons.append(error.reason)
            raise
        reasons.append("ok")
        return body
