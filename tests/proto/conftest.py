"""Options of the protocol's tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden vectors be written anew."""
    parser.addoption(
        "--update-vectors", action="store_true", help="write tests/vectors/*.json anew"
    )
