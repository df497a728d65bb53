"""A pod of the chart without Kubernetes: its files, variables and commands, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from felix.cli.config_loading import CONFIG_PATH_VARIABLE
from tests.deploy.chart import Manifest, Values, of_kind, only, render
from tests.support.certificates import make_pair

FELIX: Final = (sys.executable, "-m", "felix")


class Pod:
    """One container of the chart, with its mounts below a folder in place of the root."""

    def __init__(
        self, folder: Path, manifests: list[Manifest], spec: Manifest, secrets: Mapping[str, Path]
    ) -> None:
        """`secrets`: by the name that `spec` has for it, a folder with its keys as files."""
        self._folder = folder
        (self._container,) = spec["containers"]
        self._config = only(manifests, "ConfigMap")["data"]
        self._secrets = secrets
        volumes = {one["name"]: one for one in spec["volumes"]}
        for mount in self._container["volumeMounts"]:
            self._mount(mount, volumes.get(mount["name"], {"persistentVolumeClaim": {}}))

    def _mount(self, mount: Manifest, volume: Manifest) -> None:
        place = self._folder / mount["mountPath"].lstrip("/")
        if "configMap" in volume:
            place.mkdir(parents=True)
            for key, text in self._config.items():
                (place / key).write_text(self._placed(text))
        elif "secret" in volume:
            given = self._secrets[volume["secret"]["secretName"]]
            wanted = volume["secret"].get("items")
            keys = (
                [one["key"] for one in wanted] if wanted else [one.name for one in given.iterdir()]
            )
            if "subPathExpr" in mount:
                place.parent.mkdir(parents=True, exist_ok=True)
                _copy(given / mount["subPathExpr"], place, volume)
                return
            place.mkdir(parents=True)
            for key in keys:
                _copy(given / key, place / key, volume)
        else:
            place.mkdir(parents=True)

    def _placed(self, text: str) -> str:
        """Say where a path of the container is here."""
        for root in ("/etc/felix/", "/var/lib/felix"):
            text = text.replace(root, f"{self._folder}{root}")
        return text

    @property
    def config_file(self) -> Path:
        """The file that the node reads."""
        return Path(self.environment[CONFIG_PATH_VARIABLE])

    @property
    def environment(self) -> dict[str, str]:
        """What the container is started with."""
        found = {name: text for name, text in os.environ.items() if not name.startswith("FELIX_")}
        for variable in self._container["env"]:
            found[variable["name"]] = self._placed(variable["value"])
        return found | {"TMPDIR": str(self._folder / "tmp"), "HOME": str(self._folder / "tmp")}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        return subprocess.run(
            [*FELIX, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def run_args(self) -> subprocess.CompletedProcess[str]:
        """Run what the container runs, to its end."""
        return self.run(*map(self._placed, self._container["args"]))

    def start(self) -> subprocess.Popen[bytes]:
        """Start what the container runs."""
        return subprocess.Popen(
            [*FELIX, *self._container["args"]], env=self.environment, start_new_session=True
        )

    def pre_stop(self) -> subprocess.CompletedProcess[str]:
        """Run what Kubernetes runs before it stops the container."""
        program, *arguments = self._container["lifecycle"]["preStop"]["exec"]["command"]
        assert program == "felix-controlplane"
        return self.run(*arguments)


def _copy(source: Path, target: Path, volume: Manifest) -> None:
    target.write_bytes(source.read_bytes())
    target.chmod(volume["secret"]["defaultMode"])


def node_pod(
    folder: Path, manifests: list[Manifest], secrets: Mapping[str, Path], ordinal: int
) -> Pod:
    """Make the pod of a node, as the controller of the StatefulSet makes it of the template."""
    nodes = only(manifests, "StatefulSet")
    spec = json.dumps(nodes["spec"]["template"]["spec"])
    name = f"{nodes['metadata']['name']}-{ordinal}"
    by_field = json.dumps({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})[1:-1]
    assert by_field in spec
    spec = spec.replace(by_field, f'"value": "{name}"').replace("$(FELIX_NAME)", name)
    return Pod(folder, manifests, json.loads(spec), secrets)


def backup_pod(folder: Path, manifests: list[Manifest], secrets: Mapping[str, Path]) -> Pod:
    """Make the pod of a scheduled backup."""
    job = only(manifests, "CronJob")["spec"]["jobTemplate"]["spec"]
    return Pod(folder, manifests, job["template"]["spec"], secrets)


def make_secrets(folder: Path, pods: int, release: str = "felix") -> dict[str, Path]:
    """Make every secret as `docs/kubernetes.md` says, by the name of the secret."""
    made = {
        name: folder / name for name in ("felix-kek", "felix-curve", "felix-tls", "felix-bootstrap")
    }
    for path in made.values():
        path.mkdir()
    _felix("keygen", "kek", "--out", made["felix-kek"] / "kek")
    lines = []
    for role, name in (*(("node", f"{release}-{at}") for at in range(pods)), ("admin", "backup")):
        public = _felix("keygen", "curve", "--out", made["felix-curve"] / f"{name}.key")
        lines.append(f"{role} {name} {public}")
    (made["felix-curve"] / "allow-list").write_text("".join(lines))
    pair = make_pair(folder)
    (made["felix-tls"] / "tls.crt").write_bytes(Path(pair.cert_file).read_bytes())
    (made["felix-tls"] / "tls.key").write_bytes(Path(pair.key_file).read_bytes())
    (made["felix-bootstrap"] / "token").write_text("a-token-of-two-dozen-letters")
    return made


def _felix(*arguments: object) -> str:
    done = subprocess.run(
        [*FELIX, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def manifests_on_this_machine(values: Values) -> list[Manifest]:
    """Render the chart for a single node whose name in DNS is this machine."""
    manifests = render({"replicas": 1, **values})
    (headless,) = [
        one["metadata"]["name"]
        for one in of_kind(manifests, "Service")
        if one["spec"].get("clusterIP") == "None"
    ]
    text = json.dumps(manifests)
    found: list[Manifest] = json.loads(
        text.replace(f"felix-0.{headless}.metadata.svc.cluster.local", "127.0.0.1")
    )
    return found
