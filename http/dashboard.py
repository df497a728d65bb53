"""`/ui/`: the dashboard, files that this node has with it. It asks the API as any client does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import falcon
import msgspec

from felix.proto.errors import NotFound

FOLDER: Final = Path(__file__).parent / "ui"
PAGE: Final = "index.html"
MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Of what is served: a file with another ending is not."""
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # a node that was upgraded serves other files under these names
}


class _File(msgspec.Struct, frozen=True):
    data: bytes
    media_type: str
    tag: str


class DashboardRedirect:
    """/ui"""

    def on_get(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        """Go to /ui/."""
        raise falcon.HTTPSeeOther("/ui/")

    on_head = on_get


class Dashboard:
    """/ui/ and /ui/{name}"""

    def __init__(self) -> None:
        """Read all files: what is asked for later is looked up by name, and never a path."""
        self._files = {
            path.name: _file(path)
            for path in sorted(FOLDER.iterdir())
            if path.suffix in MEDIA_TYPES
        }

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str = PAGE) -> None:
        """Read; with the entity tag of before, 304."""
        found = self._files.get(name)
        if found is None:
            raise NotFound("the dashboard has no such file")
        resp.set_headers(HEADERS)
        resp.set_header("ETag", f'"{found.tag}"')
        if any(one == "*" or str(one) == found.tag for one in req.if_none_match or []):
            resp.status = 304
            return
        resp.content_type = found.media_type
        resp.data = found.data

    on_head = on_get


def _file(path: Path) -> _File:
    data = path.read_bytes()
    return _File(data, MEDIA_TYPES[path.suffix], hashlib.sha256(data).hexdigest()[:32])
