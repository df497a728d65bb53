"""One browser for all tests of the dashboard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dashboard.chromium import Browser, Page, browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Give the browser."""
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """Give a tab that shares nothing with others, and must not have complained in the end."""
    with chromium.page() as found:
        yield found
