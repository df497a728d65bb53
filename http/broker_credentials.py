"""How brokers prove who they are: a CURVE key over ZeroMQ, a password over HTTP."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

import falcon

from felix.http.desk import Desk, answer
from felix.http.identity_bodies import CredentialBody
from felix.http.identity_views import CredentialPage, NewCredentialView, credential_view
from felix.proto.commands import DeleteBrokerCredential, PutBrokerCredential
from felix.proto.errors import ValidationFailed
from felix.proto.identity import BrokerCredentials, Done
from felix.proto.queries import ListBrokerCredentials

PASSWORD_BYTES: Final = 32
_CURVE_KEY: Final = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}", re.ASCII)
"""Z85, ZeroMQ RFC 32."""


class Credentials:
    """/v1/broker-credentials"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List, without the secrets."""
        found = self._desk.ask(req, resp, ListBrokerCredentials(), BrokerCredentials)
        answer(resp, CredentialPage([credential_view(one) for one in found.items]))

    on_head = on_get


class OneCredential:
    """/v1/broker-credentials/{broker_id}"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_put(self, req: falcon.Request, resp: falcon.Response, broker_id: str) -> None:
        """Let a broker in by what is given, and by nothing else."""
        body = self._desk.read(req, CredentialBody)
        curve_key = body.curve_public_key or ""
        if curve_key and not _CURVE_KEY.fullmatch(curve_key):
            raise _bad("/curve_public_key", "must be 40 characters of Z85")
        password = secrets.token_urlsafe(PASSWORD_BYTES) if body.password else None
        if not curve_key and password is None:
            raise _bad("", "give curve_public_key, password, or both")
        command = PutBrokerCredential(
            broker_id=broker_id,
            curve_key=curve_key,
            secret_hash=b"" if password is None else hashlib.sha256(password.encode()).digest(),
        )
        self._desk.ask(req, resp, command, Done)
        view = NewCredentialView(
            broker_id=broker_id, curve_public_key=curve_key or None, password=password
        )
        answer(resp, view)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, broker_id: str) -> None:
        """Let a broker in no longer."""
        self._desk.ask(req, resp, DeleteBrokerCredential(broker_id=broker_id), Done)
        resp.status = 204


def _bad(pointer: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer or '/'}: {why}", details={"pointer": pointer})
