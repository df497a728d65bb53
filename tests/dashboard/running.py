"""A real cluster with brokers and streams, to look at through a real browser."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import urllib3

from felix.cli.dev import DevNode, ReadyFile
from tests.dashboard.chromium import Page
from tests.support.dev_cluster import running_dev
from tests.support.waiting import eventually

NODES: Final = 3
BROKERS: Final = 4


class Scene:
    """Three nodes and four brokers in three zones."""

    def __init__(self, ready: ReadyFile) -> None:
        self.ready = ready
        self.nodes = ready.nodes
        self._http = urllib3.PoolManager(retries=False, timeout=20.0)

    @property
    def operator(self) -> str:
        """A token that may do everything."""
        return Path(self.ready.admin_token_file).read_text(encoding="utf-8").strip()

    def call(self, method: str, path: str, body: object = None, node: int = 0) -> Any:
        """Ask a node as the operator; it must be a success."""
        answer = self._http.request(
            method,
            f"http://{self.nodes[node].http}{path}",
            headers={
                "Authorization": f"Bearer {self.operator}",
                "Content-Type": "application/json",
            },
            body=None if body is None else json.dumps(body),
        )
        assert 200 <= answer.status < 300, answer.data
        return json.loads(answer.data or b"null")

    def identity(self, **said: str) -> str:
        """Give a token of the cluster's own identity provider."""
        form = {"subject": said["subject"], "groups": said.get("groups", "")}
        answer = self._http.request(
            "POST", f"{self.ready.idp}/token", fields=form, encode_multipart=False
        )
        token: str = json.loads(answer.data)["id_token"]
        return token

    def fill(self, streams: int = 6) -> None:
        """Make a tenant with streams, and wait until they are placed."""
        self.call("POST", "/v1/tenants", {"tenant_id": "acme", "display_name": "Acme"})
        namespace = {"namespace": "billing", "display_name": "Billing"}
        self.call("POST", "/v1/tenants/acme/namespaces", namespace)
        for number in range(streams):
            self.stream(f"orders-{number}")
        eventually(lambda: len(self.call("GET", "/v1/placements")["items"]) == streams, 30)

    def stream(self, name: str) -> None:
        """Make a stream."""
        body = {"stream": name, "shards": 4, "durability": "durable", "replication_factor": 3}
        self.call("POST", "/v1/tenants/acme/namespaces/billing/streams", body)

    def leader(self) -> DevNode:
        """Tell who leads."""
        leader_id = self.call("GET", "/v1/cluster")["leader_id"]
        return next(one for one in self.nodes if one.id == leader_id)

    @contextmanager
    def paused(self, *nodes: DevNode) -> Iterator[None]:
        """Stop node processes until the block ends."""
        for node in nodes:
            os.kill(node.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for node in nodes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(node.pid, signal.SIGCONT)

    def visit(self, page: Page, view: str = "", node: int = 0) -> None:
        """Open the dashboard of a node."""
        page.go(f"http://{self.nodes[node].http}/ui/#/{view}")

    def sign_in(self, page: Page, view: str = "", node: int = 0) -> None:
        """Open it and sign in as the operator, as one does: by pasting the token."""
        self.visit(page, view, node)
        page.shows("With a Felix token")
        page.fill("#felix-token", self.operator)
        page.click("#by-token button")
        page.shows("Sign out")


@contextmanager
def scene() -> Iterator[Scene]:
    """Run the cluster until the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="felix-test-") as folder,
        running_dev(Path(folder), NODES, BROKERS) as (_, ready, _),
    ):
        found = Scene(ready)
        found.fill()
        yield found
