"""A broker of the existing service, as far as metadata goes (contract, section 11).

It polls four feeds over HTTP and is as strict and as simple as the unmodified one: it takes one
snapshot of each feed per process, follows `next_seq`, and is stuck where it cannot apply something.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import urllib3

from felix.proto.resources import Key

NAMES: Final = {
    "tenants": ("tenant_id",),
    "namespaces": ("tenant_id", "namespace"),
    "caches": ("tenant_id", "namespace", "cache"),
    "streams": ("tenant_id", "namespace", "stream"),
}
"""The feeds, in the order in which a broker asks, and what names an object of each."""
OPS: Final = ("created", "updated", "deleted")


class FeedBroker:
    """Asks through a balancer before the nodes: the first base URL that answers."""

    def __init__(self, *base_urls: str) -> None:
        """The user information of a URL becomes Basic on every request, as the HTTP client of the
        unmodified broker does it."""
        self._base_urls = base_urls
        self._http = urllib3.PoolManager(retries=False)
        self._cursors: dict[str, int] = {}
        self.known: dict[str, dict[Key, dict[str, Any]]] = {feed: {} for feed in NAMES}
        """Of each feed, the objects as they came last."""
        self.changes: list[tuple[str, str, Key]] = []
        """Feed, op and name of every change after the snapshots, in order."""
        self.statuses: list[int] = []
        """Of every answer."""

    def close(self) -> None:
        """Let go of the connections."""
        self._http.clear()

    def streams(self) -> dict[Key, tuple[int, bool]]:
        """Give what a broker reads of streams: how many shards, and whether they are durable."""
        return {key: (one["shards"], one["durable"]) for key, one in self.known["streams"].items()}

    def sync(self) -> None:
        """Do one round. What cannot be had is left for the next one, cursor and all."""
        for feed in NAMES:
            if feed not in self._cursors and (seed := self._get(f"/v1/{feed}/snapshot")):
                for item in seed["items"]:
                    self._put(feed, item)
                self._cursors[feed] = seed["next_seq"]
        for feed, since in self._cursors.items():
            if news := self._get(f"/v1/{feed}/changes?since={since}"):
                for change in news["items"]:
                    self._apply(feed, change)
                self._cursors[feed] = news["next_seq"]

    def _apply(self, feed: str, change: dict[str, Any]) -> None:
        op = change["op"]
        assert op in OPS, "an unmodified broker is stuck at an op that it does not know"
        names = change if feed == "tenants" else change["key"]
        key = tuple(names[name] for name in NAMES[feed])
        self.changes.append((feed, op, key))
        if op == "deleted":
            self.known[feed].pop(key, None)
            return
        assert op == "created" or feed in {"streams", "caches"}, "never of tenants or namespaces"
        if (item := change[feed.removesuffix("s")]) is not None:
            assert self._put(feed, item) == key

    def _put(self, feed: str, item: dict[str, Any]) -> Key:
        key = tuple(item[name] for name in NAMES[feed])
        before = self.known[feed].get(key)
        if feed == "streams" and before is not None:
            assert before["durable"] == item["durable"], "an unmodified broker is stuck here"
        self.known[feed][key] = item
        return key

    def _get(self, path: str) -> dict[str, Any] | None:
        for base_url in self._base_urls:
            try:
                response = self._ask(base_url, path)
            except urllib3.exceptions.HTTPError:
                continue
            self.statuses.append(response.status)
            if response.status == 200:
                found: dict[str, Any] = json.loads(response.data)
                return found
        return None

    def _ask(self, base_url: str, path: str) -> urllib3.BaseHTTPResponse:
        parts, headers = urlsplit(base_url), {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        url = f"{parts.scheme}://{parts.hostname}:{parts.port}{path}"
        return self._http.request("GET", url, headers=headers, timeout=10.0)
