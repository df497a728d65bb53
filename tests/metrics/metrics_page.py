"""Writes `docs/metrics.md` from the tables of metrics: `python -m tests.metrics.metrics_page`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from felix.actors.metric_family import Family, Section
from felix.actors.metrics import SECTIONS, UP
from felix.cli.scraping import HTTP, PROCESS

PATH: Final = Path(__file__).parents[2] / "docs" / "metrics.md"
SHOWN: Final[tuple[Section[Any], ...]] = (*SECTIONS, HTTP, PROCESS)

HEAD: Final = """\
# Metrics

Made from the tables in `actors/metrics.py` and `cli/scraping.py` by
`python -m tests.metrics.metrics_page`; a test holds the two together.

Every node serves `/metrics` on `listen.metrics` in Prometheus' text format, without a quorum too.
Units are seconds, bytes and entries. A counter ends in `_total` and begins at 0 with the process
(`felix_streams_total` and `felix_caches_total` are gauges: their names are those of the service
that this one replaces). Nothing is read from disk or asked of another node for a scrape.

No series is named after a tenant, a namespace, a stream, a shard, a broker, a principal or an
address: there is no bound on how many of these there are. The values of every label come from a
list in the code. A node shows 300 to 500 series, and never more than 3,000.

Numbers about metadata (`felix_catalog_*`, `felix_brokers`, `felix_shards_*`, `felix_moves`) are
replicated, so every node shows the same: take their maximum, not their sum. Those "on the leader"
are 0 on other nodes.

HTTP processes come and go; what they count is kept by the node process, so that no counter falls
when one ends. The series of a route is there from its first request on. What gunicorn refuses
before it is a request (a request line that is too long) is not counted.

[`deploy/prometheus/alerts.yml`](../deploy/prometheus/alerts.yml) has alerts, and
[`deploy/grafana/felix.json`](../deploy/grafana/felix.json) a dashboard; both expect one Prometheus
job for each cluster:

```yaml
scrape_configs:
  - job_name: felix
    static_configs:
      - targets: ["127.0.0.1:8080"]
rule_files: ["alerts.yml"]
```

## Where the seed's five are

| what | metric |
|---|---|
| RAFT leadership changes | `felix_raft_leader_changes_total` |
| commit latency | `felix_raft_commit_seconds` |
| snapshot size and frequency | `felix_snapshot_size_bytes`, `felix_snapshots_taken_total` |
| broker metadata sync lag | `felix_broker_sync_lag_versions` |
| admin API request rate and latency | `felix_http_requests_total`, `felix_http_request_seconds` |
"""

TAIL: Final = """
Besides, there are the numbers of the Python client about the node process:
`process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`,
`process_open_fds`, `process_max_fds`, `process_start_time_seconds`, `python_info`, `python_gc_*`.
"""


def page() -> str:
    """Write the page."""
    parts = [HEAD, "\n## The node\n\n", *_table([UP])]
    for section in SHOWN:
        parts += [f"\n## {section.title}\n\n", *_table(section.families)]
    return "".join([*parts, TAIL])


def _table(families: Iterable[Family[Any]]) -> Iterable[str]:
    yield "| metric | kind | labels | |\n|---|---|---|---|\n"
    for one in families:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        yield f"| `{one.name}` | {one.kind} | {labels} | {one.help} |\n"


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
