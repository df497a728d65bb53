"""One cluster of three nodes with closed doors for all tests of this folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dev_site import Site, running_dev
from tests.support.idp_server import IdpServer, idp_server

NODES = 3


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory(prefix="felix-test-") as folder,
        running_dev(Path(folder), NODES, 0) as (_, ready, _output),
    ):
        yield Site(ready)


@pytest.fixture
def idp() -> Iterator[IdpServer]:
    with idp_server() as running:
        yield running
