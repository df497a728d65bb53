"""The alerts and the dashboard in `deploy/` are whole, and ask only for what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest

from tests.metrics.deployed import ALERTS, ROOT, dashboard, queries, rules
from tests.metrics.exposition import FAMILIES
from tests.metrics.promql import Query

OF_PROMETHEUS: Final = {"job", "instance"}
OF_THE_CLIENT: Final = {
    "process_cpu_seconds_total", "process_max_fds", "process_open_fds",
    "process_resident_memory_bytes", "process_start_time_seconds",
}  # fmt: skip
RUNBOOKS: Final = {
    "lost-node", "lost-quorum", "slow-disk", "full-disk", "broker-storm", "key-compromise",
    "upgrade-and-downgrade", "backup-and-restore", "shard-without-leader",
}  # fmt: skip
PAGE: Final = ROOT / "docs" / "runbooks.md"


def labels_of(metric: str) -> set[str]:
    """Say by which labels a metric can be asked. Raises: KeyError: there is no such metric."""
    if metric in OF_THE_CLIENT:
        return OF_PROMETHEUS
    stem = re.sub(r"_(bucket|sum|count)$", "", metric)
    family = FAMILIES[metric if metric in FAMILIES else stem]
    assert (family.kind == "histogram") == (metric != family.name), metric
    return OF_PROMETHEUS | set(family.labels) | ({"le"} if metric.endswith("_bucket") else set())


def test_every_expression_asks_for_metrics_and_labels_that_there_are() -> None:
    for name, query in queries():
        for metric in query.metrics:
            labels_of(metric)
        for use in query.uses:
            assert use.label in labels_of(use.metric), f"{name}: {use}"


def test_every_alert_is_whole() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 30
    for rule in rules():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["alert"].startswith("Felix")
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}, rule["alert"]


def test_an_alert_names_a_label_in_its_words_only_if_its_expression_keeps_it() -> None:
    for rule in rules():
        for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
            grouped = re.findall(r"by \(([^)]*)\)", rule["expr"])
            kept = not grouped or any(label in one.split(", ") for one in grouped)
            assert kept, f"{rule['alert']} has no {label}"


def test_every_alert_leads_to_a_runbook_and_every_runbook_has_one() -> None:
    anchors = set()
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/runbooks.md", rule["alert"]
        anchors.add(anchor)
    assert anchors == RUNBOOKS


@pytest.mark.skipif(not PAGE.exists(), reason="the runbooks are not written yet")
def test_the_runbooks_have_these_sections() -> None:
    text = PAGE.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    anchors = {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings}
    assert anchors | set(re.findall(r'<a id="([^"]+)">', text)) >= RUNBOOKS


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here")
def test_prometheus_takes_the_alerts_and_they_fire_when_they_should() -> None:
    folder: Path = ALERTS.parent
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            ["promtool", *command], cwd=folder, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


# --- the dashboard --------------------------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def test_every_panel_says_what_it_shows_in_which_unit_and_asks_the_chosen_source() -> None:
    numbers = [panel["id"] for panel in panels()]
    assert len(numbers) == len(set(numbers))
    for panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["title"], panel["id"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        sources = [panel["datasource"], *(one["datasource"] for one in panel["targets"])]
        assert all(one["uid"] == "${datasource}" for one in sources), panel["title"]


def test_no_panel_lies_over_another() -> None:
    for one, other in combinations([panel["gridPos"] for panel in panels()], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or apart, (one, other)


def test_every_query_of_a_panel_is_of_the_chosen_cluster() -> None:
    for panel in panels():
        for target in panel.get("targets", ()):
            query = Query(target["expr"])
            of_cluster = {one.metric for one in query.uses if one[1:] == ("job", "=$job")}
            assert of_cluster == set(query.metrics), panel["title"]


def test_every_legend_names_labels_that_its_query_keeps() -> None:
    for panel in panels():
        for target in panel.get("targets", ()):
            query = Query(target["expr"])
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert all(label in labels_of(one) for one in query.metrics), panel["title"]
                grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
                assert all(label in one.split(", ") for one in grouped), panel["title"]


def test_every_metric_of_ours_is_on_the_dashboard_or_in_an_alert_unless_it_is_a_detail() -> None:
    asked = {re.sub(r"_bucket$", "", one) for _, query in queries() for one in query.metrics}
    assert set(FAMILIES) - asked == {
        "felix_broker_waits", "felix_brokers_judging",
        "felix_caches_total", "felix_catalog_epoch", "felix_catalog_version",
        "felix_backups_total", "felix_idp_cache_urls", "felix_idp_waiting",
        "felix_raft_last_index", "felix_raft_learners", "felix_raft_snapshot_index",
        "felix_raft_term", "felix_rpc_malformed_total", "felix_rpc_replies_dropped_total",
        "felix_shard_copies", "felix_shards_led", "felix_signing_key_oldest_timestamp_seconds",
        "felix_snapshot_timestamp_seconds", "felix_streams_total", "felix_watch_bookmarks_total",
        "felix_watch_frames_total", "felix_watch_snapshots_rendered_total",
    }  # fmt: skip
