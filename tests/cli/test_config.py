"""The configuration: where values come from, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from felix.cli.config import LISTENERS
from felix.cli.config_loading import ConfigError, load, render
from felix.cli.http_child import http_settings
from tests.cli import configuration_page


def member(name: str, base: int) -> dict[str, str]:
    ports = {listener: f"127.0.0.1:{base + at}" for at, listener in enumerate(LISTENERS)}
    return {"name": name, **ports}


MEMBERS = [member("alice", 9100), member("bob", 9200), member("carol", 9300)]
CONTENT: dict[str, Any] = {"name": "alice", "data_dir": "data", "cluster": {"members": MEMBERS}}


def file_of(tmp_path: Path, content: dict[str, Any] | str) -> Path:
    path = tmp_path / "felix.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def with_changes(**changes: Any) -> dict[str, Any]:
    return {**CONTENT, **changes}


def problems_of(tmp_path: Path, content: dict[str, Any] | str, **environment: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        load(file_of(tmp_path, content), environment)
    return "\n".join(refusal.value.problems)


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    config = load(file_of(tmp_path, CONTENT), {})
    assert (config.region_id, config.raft.heartbeat_ms) == ("local", 50)
    assert config.listen.http == "127.0.0.1:8443"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = file_of(tmp_path, with_changes(raft={"heartbeat_ms": 20}, log={"level": "error"}))
    config = load(path, {"FELIX_RAFT_HEARTBEAT_MS": "30"})
    assert (config.raft.heartbeat_ms, config.log.level) == (30, "error")


def test_the_environment_alone_is_enough() -> None:
    config = load(
        None,
        {
            "FELIX_NAME": "bob",
            "FELIX_DATA_DIR": "data",
            "FELIX_CLUSTER_MEMBERS": json.dumps(MEMBERS),
            "FELIX_HTTP_ENABLED": "false",
            "FELIX_LIMITS_TIMEOUT_S": "2.5",
        },
    )
    assert [one.name for one in config.cluster.members] == ["alice", "bob", "carol"]
    assert (config.http.enabled, config.limits.timeout_s) == (False, 2.5)


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = file_of(tmp_path, with_changes(region_id="eu"))
    assert load(None, {"FELIX_CONTROLPLANE_CONFIG": str(path)}).region_id == "eu"


def test_the_names_of_the_existing_service_are_understood(tmp_path: Path) -> None:
    config = load(
        file_of(tmp_path, CONTENT),
        {
            "FELIX_CONTROLPLANE_BIND": "127.0.0.1:1",
            "FELIX_CONTROLPLANE_METRICS_BIND": "127.0.0.1:2",
            "FELIX_REGION_ID": "eu",
            "FELIX_CONTROLPLANE_CHANGES_LIMIT": "3",
            "FELIX_CONTROLPLANE_CHANGE_RETENTION_MAX_ROWS": "4",
            "FELIX_SHUTDOWN_DRAIN_TIMEOUT_MS": "5",
        },
    )
    assert (config.listen.http, config.listen.metrics) == ("127.0.0.1:1", "127.0.0.1:2")
    assert (config.region_id, config.changes_limit) == ("eu", 3)
    assert (config.change_retention_max_rows, config.shutdown_drain_timeout_ms) == (4, 5)


@pytest.mark.parametrize(
    "variable",
    [
        "FELIX_CONTROLPLANE_SERVICE_HOST",
        "FELIX_CONTROLPLANE_SERVICE_PORT_HTTP",
        "FELIX_CONTROLPLANE_PORT",
        "FELIX_CONTROLPLANE_PORT_8443_TCP_ADDR",
        "FELIX_ADMIN_ENDPOINTS",
        "FELIX_ADMIN_TOKEN",
        "FELIX_ADMIN_TOKEN_FILE",
        "FELIX_ADMIN_CA_FILE",
    ],
)
def test_what_kubernetes_says_of_services_and_what_is_felix_admins_is_ignored(
    tmp_path: Path, variable: str
) -> None:
    assert load(file_of(tmp_path, CONTENT), {variable: "tcp://10.0.0.1:8443"}).name == "alice"


@pytest.mark.parametrize(
    "variable", ["FELIX_CONTROLPLANE_STORAGE_BACKEND", "FELIX_CONTROLPLANE_POSTGRES_URL"]
)
def test_a_database_is_refused_with_the_reason(tmp_path: Path, variable: str) -> None:
    said = problems_of(tmp_path, CONTENT, **{variable: "postgres"})
    assert variable in said
    assert "replicated log" in said


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    said = problems_of(tmp_path, with_changes(raft={"hartbeat_ms": 5}), FELIX_RAFT_HEARTBEET_MS="5")
    assert "did you mean raft.heartbeat_ms?" in said
    assert "did you mean FELIX_RAFT_HEARTBEAT_MS?" in said


@pytest.mark.parametrize("text", ["soon", "1.5", "0", "-1", ""])
def test_a_number_that_is_none_names_its_variable(tmp_path: Path, text: str) -> None:
    assert "FELIX_HTTP_WORKERS" in problems_of(tmp_path, CONTENT, FELIX_HTTP_WORKERS=text)


def test_a_wrong_type_in_the_file_names_the_key_and_what_is_expected(tmp_path: Path) -> None:
    said = problems_of(tmp_path, with_changes(http={"workers": "many"}))
    assert "http.workers" in said
    assert "int" in said


@pytest.mark.parametrize("name", ["name", "data_dir"])
def test_what_is_required_must_be_there(tmp_path: Path, name: str) -> None:
    content = {key: value for key, value in CONTENT.items() if key != name}
    assert name in problems_of(tmp_path, content)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: a\nname: b\n", "twice"),
        ("name: &x a\ndata_dir: *x\n", "aliases"),
        ("- name\n", "mapping"),
        ("name: [\n", "felix.yaml"),
        ("name: !!python/object/apply:os.getcwd []\n", "python/object"),
    ],
)
def test_yaml_that_nobody_means_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    assert reason in problems_of(tmp_path, text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load(tmp_path / "absent.yaml", {})


@pytest.mark.parametrize(
    ("raft", "key"),
    [
        ({"heartbeat_ms": 5}, "raft.heartbeat_ms"),
        ({"heartbeat_ms": 100}, "raft.election_min_ms"),
        ({"election_max_ms": 400}, "raft.election_max_ms"),
    ],
)
def test_unsafe_timings_are_refused(tmp_path: Path, raft: dict[str, int], key: str) -> None:
    assert key in problems_of(tmp_path, with_changes(raft=raft))


def test_writes_that_wait_for_brokers_leave_threads_to_others(tmp_path: Path) -> None:
    http = {"threads": 6, "broker_waiters_max": 6}
    assert "http.broker_waiters_max: below http.threads (6)" in problems_of(
        tmp_path, with_changes(http=http)
    )
    config = load(file_of(tmp_path, with_changes(http=http | {"broker_waiters_max": 5})), {})
    assert http_settings(config, "ipc://x").broker_waiters_max == 5


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_new_cluster_has_one_three_or_five_members(tmp_path: Path, count: int) -> None:
    members = [member(name, 9100 + 10 * at) for at, name in enumerate("abcd"[:count])]
    said = problems_of(
        tmp_path, with_changes(name="a", cluster={"bootstrap": "new", "members": members})
    )
    assert f"not {count}" in said


@pytest.mark.parametrize("field", ["name", "peers", "rpc"])
def test_members_that_share_something_are_refused(tmp_path: Path, field: str) -> None:
    twin = {**MEMBERS[2], field: MEMBERS[0][field]}
    said = problems_of(tmp_path, with_changes(cluster={"members": [*MEMBERS[:2], twin]}))
    assert f"same {field}" in said


def test_a_node_must_be_a_member(tmp_path: Path) -> None:
    assert "'mallory'" in problems_of(tmp_path, with_changes(name="mallory"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_loopback_listener_is_fine(tmp_path: Path, host: str) -> None:
    load(file_of(tmp_path, with_changes(listen={"rpc": f"{host}:9000"})), {})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536"])
def test_a_listener_without_a_port_is_refused(tmp_path: Path, address: str) -> None:
    assert "host:port" in problems_of(tmp_path, with_changes(listen={"rpc": address}))


def test_all_rules_that_are_broken_are_reported_at_once(tmp_path: Path) -> None:
    content = with_changes(name="x", listen={"rpc": "0.0.0.0:1"}, raft={"heartbeat_ms": 100})
    said = problems_of(tmp_path, content)
    assert all(word in said for word in ("name:", "listen.rpc", "raft.election_min_ms"))


def test_what_is_rendered_loads_as_the_same(tmp_path: Path) -> None:
    config = load(file_of(tmp_path, with_changes(log={"format": "json"})), {})
    assert load(file_of(tmp_path, render(config)), {}) == config


def test_every_founder_works_out_the_same_cluster(tmp_path: Path) -> None:
    mine = load(file_of(tmp_path, CONTENT), {})
    shuffled = with_changes(name="bob", cluster={"members": MEMBERS[::-1]})
    others = load(file_of(tmp_path, shuffled), {})
    assert mine.new_cluster_id == others.new_cluster_id


def test_another_cluster_has_another_id(tmp_path: Path) -> None:
    mine = load(file_of(tmp_path, CONTENT), {})
    other = load(file_of(tmp_path, with_changes(cluster={"name": "other", "members": MEMBERS})), {})
    assert mine.new_cluster_id != other.new_cluster_id


def test_the_page_has_every_key_as_the_records_have_it() -> None:
    page = configuration_page.PATH.read_text(encoding="utf-8")
    again = "python -m tests.cli.configuration_page"
    assert configuration_page.with_table(page) == page, f"out of date: {again}"
