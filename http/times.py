"""Times as answers spell them."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(unix_ms: int) -> str:
    """Render Unix milliseconds as `2026-01-31T12:00:00.000Z`."""
    moment = datetime.fromtimestamp(unix_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_ms % 1000:03d}Z"
