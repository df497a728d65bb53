"""Our Helm chart, rendered as `helm template` would, and the objects that come of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import jsonschema
import yaml

from tests.deploy.go_template import Templates

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "felix-controlplane"
RELEASE, NAMESPACE = "felix", "metadata"

Values: TypeAlias = "dict[str, Any]"
Manifest: TypeAlias = "dict[str, Any]"

WAYS: Final[dict[str, Values]] = {
    "as it comes": {},
    "one node": {"replicas": 1},
    "five nodes of a cluster that has grown": {
        "replicas": 5,
        "cluster": {"bootstrap": "existing", "name": "metadata", "region": "eu-1"},
    },
    "with a listener for the first administrators": {"bootstrap": {"enabled": True}},
    "without backups and a network policy": {
        "backup": {"enabled": False},
        "networkPolicy": {"enabled": False},
    },
    "with everything that can be said": {
        "image": {"repository": "registry.example/felix", "tag": "0.1.0-7", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "clusterDomain": "k8s.example",
        "config": {
            "auth": {"issuer_changes": "cluster"},
            "keys": {"rotation_period_s": 2_592_000, "previous_kek_files": ["/etc/felix/kek/old"]},
            "log": {"level": "debug"},
        },
        "service": {"type": "LoadBalancer", "annotations": {"example.org/internal": "true"}},
        "storage": {"className": "ssd", "size": "50Gi"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "metadata", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "system-cluster-critical",
        "podAnnotations": {"example.org/team": "metadata"},
        "networkPolicy": {
            "brokers": [{"namespaceSelector": {"matchLabels": {"felix": "brokers"}}}],
            "administrators": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "monitoring": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        },
        "serviceMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}},
        "backup": {"storage": {"className": "cheap"}, "schedule": "0 3 * * *", "keep": 7},
    },
}
"""Values that somebody might install with, by what they are for."""


def default_values() -> Values:
    """Read `values.yaml`."""
    found = yaml.safe_load((CHART / "values.yaml").read_text())
    assert isinstance(found, dict)
    return found


def check_values(values: Values) -> None:
    """Hold values against the chart's schema as Helm does. Raises: jsonschema.ValidationError."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(values)


def render_files(values: Values, release: str = RELEASE) -> dict[str, str]:
    """Render every template, by its file's name.

    Raises: `go_functions.TemplateError`, jsonschema.ValidationError.
    """
    merged = _merged(default_values(), values)
    check_values(merged)
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    base = f"{about['name']}/templates"
    folder = CHART / "templates"
    names = sorted(path.name for path in folder.iterdir())
    templates = Templates({f"{base}/{name}": (folder / name).read_text() for name in names})
    dot = {
        "Values": merged,
        "Release": {"Name": release, "Namespace": NAMESPACE, "Service": "Helm"},
        "Chart": {key[0].upper() + key[1:]: value for key, value in about.items()},
        "Template": {"BasePath": base},
    }
    return {
        name: templates.render(f"{base}/{name}", dot) for name in names if not name.startswith("_")
    }


def render(values: Values, release: str = RELEASE) -> list[Manifest]:
    """Render the objects. Raises: as `render_files` does, yaml.YAMLError."""
    return [
        manifest
        for name, text in render_files(values, release).items()
        if name.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest is not None
    ]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Find the objects of a kind."""
    return [one for one in manifests if one["kind"] == kind]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """Find the only object of a kind."""
    (found,) = of_kind(manifests, kind)
    return found


def pod_specs(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Find the pods that the objects make."""
    for one in of_kind(manifests, "StatefulSet"):
        yield one["spec"]["template"]["spec"]
    for one in of_kind(manifests, "CronJob"):
        yield one["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def _merged(below: Values, above: Values) -> Values:
    """Lay values over others, as Helm does: maps are merged, everything else is replaced."""
    found = copy.deepcopy(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _merged(found[key], value)
        else:
            found[key] = copy.deepcopy(value)
    return found
