"""The alerts and the dashboard in `deploy/`, as far as tests ask of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.metrics.promql import Query

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "felix.json"
ALERTS: Final = ROOT / "deploy" / "prometheus" / "alerts.yml"


def rules() -> list[dict[str, Any]]:
    """List the alerts."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Read the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def queries() -> Iterator[tuple[str, Query]]:
    """Read every expression, with the name of what it belongs to."""
    for rule in rules():
        yield rule["alert"], Query(rule["expr"])
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], Query(target["expr"])
