"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def no_logging_is_left_behind() -> Iterator[None]:
    """Let no test find the logging that another one, or an import, has set up."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
