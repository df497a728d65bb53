"""The whole metadata as one file, to be kept somewhere else."""

from __future__ import annotations

from collections.abc import Iterator

import falcon

from felix.http.desk import Desk, consistency_of
from felix.proto.errors import FelixError
from felix.proto.queries import BackupPiece, ClusterStatus, GetBackup, GetCluster


class BrokenOff(Exception):
    """The rest of a backup could not be had: the connection ends without its last chunk."""


class Backup:
    """/v1/cluster/backup"""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Stream it. What this node has, without a quorum, unless asked to make sure."""
        consistency = consistency_of(req, default="stale")
        first = self._desk.ask(req, resp, GetBackup(), BackupPiece, consistency=consistency)
        _describe(resp, first)
        name = f"felix-{first.epoch}-{first.version}.backup"
        resp.set_header("Content-Disposition", f'attachment; filename="{name}"')
        resp.stream = self._pieces(first, req.context.request_id)

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Say what a backup would be of."""
        consistency = consistency_of(req, default="stale")
        _describe(
            resp, self._desk.ask(req, resp, GetCluster(), ClusterStatus, consistency=consistency)
        )

    def _pieces(self, piece: BackupPiece, request_id: str) -> Iterator[bytes]:
        yield piece.data
        while not piece.is_last:
            query = GetBackup(backup=piece.backup, piece=piece.piece + 1)
            try:
                piece = self._desk.go_on(query, BackupPiece, request_id)
            except FelixError as error:
                raise BrokenOff(error.message) from error
            yield piece.data


def _describe(resp: falcon.Response, what: BackupPiece | ClusterStatus) -> None:
    resp.content_type = "application/octet-stream"
    resp.set_header("X-Felix-Cluster", what.cluster_id)
    resp.set_header("X-Felix-Epoch", str(what.epoch))
    resp.set_header("X-Felix-Digest", what.digest)
