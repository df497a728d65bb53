"""What whoever looks into a fault must know of a node: what runs, and with which configuration."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import falcon
import msgspec

from felix import __version__
from felix.http.desk import Desk, answer

LIBRARIES: Final = (
    "cryptography", "falcon", "gunicorn", "msgpack", "msgspec", "prometheus-client", "pykka",
    "pyjwt", "pyzmq", "structlog", "urllib3",
)  # fmt: skip


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/system/report."""

    name: str
    version: str
    python: str
    platform: str
    libraries: dict[str, str]
    """By name; empty where one is not installed as a package."""
    config: str
    """The whole configuration in YAML; of a secret only that it is there."""


class ThisNodesReport:
    """/v1/system/report"""

    def __init__(self, desk: Desk) -> None:
        self._report = NodeReport(
            name=desk.settings.node_name,
            version=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            libraries={name: _version_of(name) for name in LIBRARIES},
            config=desk.settings.shown_config,
        )

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Read; asks nobody."""
        answer(resp, self._report)

    on_head = on_get


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
