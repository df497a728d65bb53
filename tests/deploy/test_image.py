"""The Dockerfile, read: nothing here can build it.

That the wheel works where nothing else is, is tested in `tests/tidy`.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.chart import ROOT, only, render

NOT_IN_THE_IMAGE: Final = {"bench", "deploy", "docs", "tests"}


class Instruction(NamedTuple):
    """One instruction, its lines put together."""

    name: str
    text: str


def dockerfile() -> list[Instruction]:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in joined if line.strip()]


def last_stage() -> list[Instruction]:
    found = dockerfile()
    begin = max(at for at, one in enumerate(found) if one.name == "FROM")
    return found[begin:]


def said(name: str) -> list[str]:
    """Give what the last stage says under one name."""
    return [one.text for one in last_stage() if one.name == name]


def pins(lock: str) -> dict[str, str]:
    """Read a lock file: everything behind a name, hashes and all."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    text = text.replace("\\\n", " ")
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition("==")
        assert "--hash=sha256:" in rest, f"{lock}: {name} has no hash"
        found[canonicalize_name(name)] = " ".join(rest.split())
    return found


def test_every_stage_begins_with_a_version() -> None:
    images = [one.text.split()[0] for one in dockerfile() if one.name == "FROM"]
    assert len(images) == 2
    for image in images:
        assert re.fullmatch(r"python:3\.11[\w.-]*-slim-\w+", image), image


def test_it_runs_as_the_user_that_the_chart_says() -> None:
    (user,) = said("USER")
    security = only(render({}), "StatefulSet")["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{security['runAsUser']}:{security['runAsGroup']}"
    names = [one.name for one in last_stage()]
    assert "RUN" not in names[names.index("USER") :]


def test_what_it_starts_is_what_the_package_installs() -> None:
    (entrypoint,), (command,) = said("ENTRYPOINT"), said("CMD")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert json.loads(entrypoint) == ["felix-controlplane"]
    assert "felix-controlplane" in project["scripts"]
    container = only(render({}), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    assert json.loads(command) == container["args"] == ["serve"]


def test_everything_that_is_copied_is_there_and_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored, "what is not named does not get in"
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = set()
    for one in dockerfile():
        assert one.name != "ADD"
        if one.name == "COPY" and not one.text.startswith("--from"):
            copied.update(shlex.split(one.text)[:-1])
    assert copied == let_through
    for path in copied:
        assert (ROOT / path).exists(), path


def test_every_package_is_in_the_image_and_no_tests() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folders = {
        line.split(" = ")[1] for line in config["options"]["package_dir"].strip().splitlines()
    }
    copied = {
        word
        for one in dockerfile()
        if one.name == "COPY"
        for word in one.text.split()[:-1]
        if (ROOT / word).is_dir()
    }
    assert folders == copied
    assert not copied & NOT_IN_THE_IMAGE


def test_nothing_is_installed_without_a_hash() -> None:
    for one in dockerfile():
        for command in one.text.split("&&") if one.name == "RUN" else []:
            if " pip " in command:
                assert "--require-hashes" in command or "--no-index" in command, command


@pytest.mark.parametrize("lock", ["deploy/requirements.lock", "deploy/build.lock"])
def test_the_image_has_what_was_tested(lock: str) -> None:
    tested = pins("requirements.lock")
    for name, pin in pins(lock).items():
        assert tested[name] == pin, f"{name}: run `make lock`"


def test_the_image_has_everything_that_a_node_needs_and_nothing_more() -> None:
    needed: set[str] = set()
    waiting = ["felix-controlplane"]
    while waiting:
        for text in metadata.requires(waiting.pop()) or []:
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if (requirement.marker is None or requirement.marker.evaluate()) and name not in needed:
                needed.add(name)
                waiting.append(name)
    assert set(pins("deploy/requirements.lock")) == needed


def test_what_a_node_writes_is_a_volume_in_the_chart() -> None:
    environment = dict(pair.split("=", 1) for text in said("ENV") for pair in shlex.split(text))
    container = only(render({}), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    writable = [
        Path(one["mountPath"]) for one in container["volumeMounts"] if not one.get("readOnly")
    ]
    for path in (environment["HOME"], environment["FELIX_DATA_DIR"]):
        assert any(Path(path).is_relative_to(place) for place in writable), path
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_ports_are_those_of_the_chart() -> None:
    (ports,) = said("EXPOSE")
    manifests = render({"bootstrap": {"enabled": True}})
    container = only(manifests, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    assert set(map(int, ports.split())) == {one["containerPort"] for one in container["ports"]}
