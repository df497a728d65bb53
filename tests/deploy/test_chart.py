"""The Helm chart: what it makes for whoever installs it, held against Kubernetes and our rules."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from felix import __version__
from felix.cli.config import Config
from felix.cli.config_loading import CONFIG_PATH_VARIABLE, known_keys, variable_of
from tests.deploy.chart import (
    CHART,
    ROOT,
    WAYS,
    Manifest,
    Values,
    check_values,
    default_values,
    of_kind,
    only,
    pod_specs,
    render,
    render_files,
)
from tests.deploy.go_functions import TemplateError

KUBERNETES = ("1.27", "1.30", "1.33", "1.37")
"""Versions whose schemas the objects are held against: the oldest that the chart takes, and on."""
NOT_OF_KUBERNETES = {"ServiceMonitor"}
SHUTDOWN_S = Config(name="n", data_dir="d").shutdown_drain_timeout_ms / 1000

every_way = pytest.mark.parametrize("way", WAYS)


def containers(manifests: list[Manifest]) -> list[Manifest]:
    return [one for pod in pod_specs(manifests) for one in pod["containers"]]


def node_of(manifests: list[Manifest]) -> tuple[Manifest, Manifest]:
    """Give the pod of a node, and its only container."""
    pod = only(manifests, "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


@pytest.mark.parametrize("version", KUBERNETES)
@every_way
def test_kubernetes_knows_every_field(way: str, version: str) -> None:
    for one in render(WAYS[way]):
        if one["kind"] not in NOT_OF_KUBERNETES:
            kubernetes_validate.validate(one, version, strict=True)


@every_way
def test_no_object_is_there_twice_and_all_are_labelled(way: str) -> None:
    manifests = render(WAYS[way])
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(names)) == len(names)
    for one in manifests:
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/version"] == __version__
        assert labels["app.kubernetes.io/instance"] == "felix"


def test_what_is_switched_off_is_not_there() -> None:
    kinds = {one["kind"] for one in render(WAYS["without backups and a network policy"])}
    assert not kinds & {"CronJob", "NetworkPolicy", "PersistentVolumeClaim", "ServiceMonitor"}
    assert "ServiceMonitor" in {
        one["kind"] for one in render(WAYS["with everything that can be said"])
    }


def test_prometheus_is_sent_to_every_pod_by_tls() -> None:
    manifests = render(WAYS["with everything that can be said"])
    monitor = only(manifests, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["scheme"], endpoint["path"]) == ("https", "/metrics")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [
        one["spec"]
        for one in of_kind(manifests, "Service")
        if wanted <= one["metadata"]["labels"].items()
        and endpoint["port"] in {port["name"] for port in one["spec"]["ports"]}
    ]
    assert service["clusterIP"] == "None"


# --- a quorum stays ------------------------------------------------------------------------------


@every_way
def test_members_start_together_and_find_each_other_before_they_are_ready(way: str) -> None:
    manifests = render(WAYS[way])
    nodes = only(manifests, "StatefulSet")["spec"]
    assert nodes["podManagementPolicy"] == "Parallel"
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "Service")}
    headless = services.pop(nodes["serviceName"])
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True
    (clients,) = services.values()
    assert not clients.get("publishNotReadyAddresses")
    assert {port["name"] for port in clients["ports"]} <= {"http", "bootstrap"}


@every_way
def test_at_most_one_member_is_taken_away_and_no_host_has_two(way: str) -> None:
    manifests = render(WAYS[way])
    budget = only(manifests, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "IfHealthyBudget"
    pod, _ = node_of(manifests)
    labels = only(manifests, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    (rule,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (spread,) = pod["topologySpreadConstraints"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert (spread["topologyKey"], spread["maxSkew"]) == ("topology.kubernetes.io/zone", 1)
    for selector in (budget["selector"], rule["labelSelector"], spread["labelSelector"]):
        assert selector["matchLabels"].items() <= labels.items()


@every_way
def test_three_probes_ask_three_things_and_none_that_restarts_needs_a_quorum(way: str) -> None:
    _, container = node_of(render(WAYS[way]))
    startup, live, ready = (
        container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")
    )
    assert live["httpGet"]["path"] == startup["httpGet"]["path"] == "/live"
    assert ready["httpGet"]["path"] == "/ready"
    assert {one["httpGet"]["port"] for one in (startup, live, ready)} == {"metrics"}
    seconds = startup["periodSeconds"] * startup["failureThreshold"]
    assert seconds >= 600, "a long log is read in peace"
    assert live["periodSeconds"] * live["failureThreshold"] >= 30


@every_way
def test_a_node_has_the_time_that_it_takes_to_stop(way: str) -> None:
    pod, container = node_of(render(WAYS[way]))
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["felix-controlplane", "step-down"]
    options = dict(zip(command[2::2], map(float, command[3::2]), strict=True))
    needed = options["--timeout-seconds"] + options["--grace-seconds"] + SHUTDOWN_S
    assert pod["terminationGracePeriodSeconds"] >= needed + 5


def test_a_time_to_stop_that_is_too_short_is_refused() -> None:
    with pytest.raises(TemplateError, match="terminationGracePeriodSeconds"):
        render({"stepDown": {"timeoutSeconds": 20}})
    with pytest.raises(TemplateError, match="terminationGracePeriodSeconds"):
        render({"config": {"shutdown_drain_timeout_ms": 20_000}})


@every_way
def test_backups_come_one_after_the_other_and_outlive_the_chart(way: str) -> None:
    manifests = render(WAYS[way])
    for job in of_kind(manifests, "CronJob"):
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        assert job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"
        (claim,) = of_kind(manifests, "PersistentVolumeClaim")
        assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    retention = only(manifests, "StatefulSet")["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert retention == {"whenDeleted": "Retain", "whenScaled": "Retain"}


# --- as little as possible is allowed ------------------------------------------------------------


@every_way
def test_no_container_can_do_more_than_it_needs(way: str) -> None:
    manifests = render(WAYS[way])
    for pod in pod_specs(manifests):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert not container["image"].endswith(":latest")
        assert ":" in container["image"]
    for port in (port for one in containers(manifests) for port in one.get("ports", [])):
        assert port["containerPort"] >= 1024
        assert "hostPort" not in port


@every_way
def test_secrets_are_named_and_mounted_and_never_values(way: str) -> None:
    manifests = render(WAYS[way])
    assert not of_kind(manifests, "Secret")
    for pod in pod_specs(manifests):
        for volume in pod["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440, (
                    "CURVE keys readable by others are refused"
                )
        mounts = pod["containers"][0]["volumeMounts"]
        assert len({one["mountPath"] for one in mounts}) == len(mounts)
        claims = {"data"} if pod is node_of(manifests)[0] else set()
        assert {one["name"] for one in mounts} == {one["name"] for one in pod["volumes"]} | claims
        writable = {one["name"] for one in mounts if not one.get("readOnly")}
        assert writable <= {"data", "tmp", "backups"}


def test_a_pod_has_no_other_nodes_key_and_a_backup_none_of_any_node() -> None:
    manifests = render({})
    _, container = node_of(manifests)
    (key,) = [one for one in container["volumeMounts"] if one["name"] == "curve"]
    assert key["subPathExpr"] == "$(FELIX_NAME).key"
    (backup,) = (pod for pod in pod_specs(manifests) if pod is not node_of(manifests)[0])
    secrets = [one["secret"] for one in backup["volumes"] if "secret" in one]
    assert [[item["key"] for item in one["items"]] for one in secrets] == [
        ["allow-list", "backup.key"]
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"name": "x"}, "config.name"),
        ({"cluster": {}}, "config.cluster"),
        ({"curve": {}}, "config.curve"),
        ({"bootstrap": {"token": "x"}}, "config.bootstrap"),
        ({"keys": {"kek": "x"}}, "secrets.kek"),
    ],
)
def test_what_the_chart_sets_and_secrets_cannot_be_set_twice(config: Values, said: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(said)):
        render({"config": config})


def test_whoever_is_not_named_does_not_get_through_the_network() -> None:
    rules = only(render(WAYS["with everything that can be said"]), "NetworkPolicy")["spec"][
        "ingress"
    ]
    reached = {
        str(peer): {port["port"] for port in rule["ports"]}
        for rule in rules
        for peer in rule["from"]
    }
    for peer, ports in reached.items():
        if "brokers" in peer:
            assert ports == {9000, 9001, 8443}
        elif "ipBlock" in peer:
            assert ports == {8443}
        elif "monitoring" in peer:
            assert ports == {8080}
        else:
            assert "app.kubernetes.io/name" in peer
    assert [rule for rule in rules if 8444 in {port["port"] for port in rule["ports"]}] == rules[:1]


def test_only_the_listener_that_is_switched_on_has_ports() -> None:
    def names(manifests: list[Manifest]) -> set[str]:
        return {port["name"] for port in node_of(manifests)[1]["ports"]}

    assert "bootstrap" not in names(render({}))
    assert "bootstrap" in names(render(WAYS["with a listener for the first administrators"]))


# --- values --------------------------------------------------------------------------------------


def test_every_default_is_in_the_schema_and_everything_in_the_schema_has_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    check_values(default_values())

    def compare(part: dict[str, Any], values: Any, path: str) -> None:
        if "properties" in part and isinstance(values, dict):
            assert set(part["properties"]) - {"global"} == set(values), path
            assert part["additionalProperties"] is False, path
            assert set(part["required"]) == set(values), path
            for name, value in values.items():
                compare(part["properties"][name], value, f"{path}.{name}")

    compare(schema, default_values(), "values")


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 2},
        {"replicas": "3"},
        {"replica": 3},
        {"image": {"tag": "latest"}},
        {"cluster": {"bootstrap": "old"}},
        {"secrets": {"token": "x"}},
        {"ports": {"http": 443}},
        {"storage": {"size": "much"}},
        {"backup": {"keep": 0}},
        {"whenUnsatisfiableZone": "Never"},
    ],
)
def test_values_that_make_no_sense_are_refused(values: Values) -> None:
    with pytest.raises(jsonschema.ValidationError):
        render(values)


def test_the_chart_is_of_this_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == about["version"] == __version__
    assert about["kubeVersion"] == f">={KUBERNETES[0]}.0-0"


# --- what a node is told -------------------------------------------------------------------------


@every_way
def test_every_variable_is_in_the_configuration_reference(way: str) -> None:
    reference = (ROOT / "docs" / "configuration.md").read_text()
    known = {variable_of(key) for key in known_keys()} | {CONFIG_PATH_VARIABLE}
    for container in containers(render(WAYS[way])):
        for variable in container["env"]:
            assert variable["name"] in known
            assert f"`{variable['name']}`" in reference


def test_notes_name_every_member() -> None:
    said = render_files({"replicas": 5})["NOTES.txt"]
    assert all(
        f"felix-{number}.felix-peers.metadata.svc.cluster.local" in said for number in range(5)
    )


@pytest.mark.parametrize("release", ["felix", "a" * 53])
def test_names_are_not_longer_than_kubernetes_takes(release: str) -> None:
    manifests = render({}, release)
    for one in manifests:
        limit = 52 if one["kind"] in {"CronJob", "StatefulSet"} else 63
        assert len(one["metadata"]["name"]) <= limit
