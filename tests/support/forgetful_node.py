"""Runs `felix-controlplane` that believes providers for seconds only: `python -m` this."""

from __future__ import annotations

from felix.cli.server import main
from felix.core.auth import documents

FRESH_S, STALE_S_MAX = 1.0, 5.0

if __name__ == "__main__":
    vars(documents).update(FRESH_S=FRESH_S, STALE_S_MAX=STALE_S_MAX)
    main()
