"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


@pytest.fixture(autouse=True)
def no_logging_is_left_behind() -> Iterator[None]:
    """Let no test find the logging that another one, or an import, has set up."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def nobodys_contexts_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let `felix-admin` know no contexts but those that a test makes."""
    monkeypatch.setenv("FELIX_ADMIN_CONFIG", str(tmp_path / "admin.yaml"))
