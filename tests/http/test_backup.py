"""`/v1/cluster/backup`: a file in pieces, whole or recognisably not."""

from __future__ import annotations

import io

import pytest

from felix.core.catalog.backup import read_backup
from felix.core.catalog.catalog import CatalogLimits
from felix.http.backup import BrokenOff
from felix.proto.control_plane import Answered, Call
from felix.proto.errors import NotFound
from felix.proto.queries import GetBackup
from felix.proto.rpc import AnyRequest
from tests.http.helpers import TENANTS, Client, client_of, filled_client, refused
from tests.support.local_control_plane import LocalControlPlane

URL = "/v1/cluster/backup"
FACTS = ("X-Felix-Version", "X-Felix-Epoch", "X-Felix-Digest", "X-Felix-Cluster")


class Forgetful(LocalControlPlane):
    """Gives up every backup after its first piece."""

    def ask(self, message: AnyRequest, call: Call = Call()) -> Answered:  # noqa: B008 - immutable
        """Raises: NotFound for anything but the first piece."""
        if isinstance(message, GetBackup) and message.piece > 0:
            raise NotFound("there is no such backup (any more): begin a new one")
        return super().ask(message, call)


def test_the_answer_is_the_file_and_its_headers_say_what_of() -> None:
    client = filled_client()
    status = client.get("/v1/cluster").json
    answer = client.get(URL)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="felix-1-4.backup"'
    found = read_backup(io.BytesIO(answer.content).read, CatalogLimits())
    counts = {kind: count for kind, count in found.catalog.counts().items() if count}
    assert counts == {"Tenant": 1, "Namespace": 1, "Stream": 1, "Cache": 1}
    assert [answer.headers[name] for name in FACTS] == ["4", "1", status["digest"], "local"]
    assert "Content-Length" not in answer.headers


def test_head_has_the_same_headers_and_begins_nothing() -> None:
    client = filled_client()
    answer = client.get(URL)
    for _ in range(20):
        head = client.request("HEAD", URL)
        assert head.status_code == 200
        assert [head.headers[name] for name in FACTS] == [answer.headers[name] for name in FACTS]
        assert head.content == b""
    assert client.get(URL).status_code == 200


def test_a_backup_that_breaks_off_is_not_ended_as_if_it_were_whole() -> None:
    client: Client = client_of(Forgetful())
    client.post(TENANTS, {"tenant_id": "acme", "display_name": ""})
    with pytest.raises(BrokenOff):  # gunicorn then cuts the connection
        client.get(URL)


def test_what_it_cannot_be_asked_for_is_refused() -> None:
    client = filled_client()
    assert refused(client.get(URL, consistency="eventual")) == (400, "validation_error")
    assert client.request("POST", URL).status_code == 405
    assert client.get(URL, consistency="linearizable").status_code == 200
