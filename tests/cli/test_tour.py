"""The tour in `README.md`, run as it stands on a cluster with closed doors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from felix.cli.dev import ReadyFile
from tests.support.dev_cluster import running_dev
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

README: Final = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TOUR: Final = README.partition("## A tour of five minutes")[2].partition("## One node")[0]
BLOCKS: Final = re.findall(r"```(sh|text)\n(.*?)```", TOUR, re.DOTALL)
REFUSED_ON_PURPOSE: Final = ["precondition_failed", "forbidden", "forbidden"]


def test_every_command_of_the_tour_does_what_the_tour_says() -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    with (
        tempfile.TemporaryDirectory(prefix="felix-test-") as folder,
        running_dev(Path(folder), 3, 3) as (_, ready, output),
    ):
        script = "\n".join(block for kind, block in BLOCKS if kind == "sh")
        said = run(at_home(script, Path(folder), ready))
        heard = {
            " ".join(line.split()[:5])
            for kind, block in BLOCKS
            if kind == "text"
            for line in block.splitlines()
        }
        assert len(heard) == 3
        eventually(lambda: all(line in output.read_text() for line in heard))
    assert re.findall(r'"code":"(\w+)"', said) == REFUSED_ON_PURPOSE, said
    assert said.count('"felix_token"') == 1, said
    assert '"allowed":true' in said, said
    assert re.search(r"leader +node-2", said), said
    assert re.search(r"^felix_raft\w+", said, re.MULTILINE), said
    assert re.search(r"intact +records 1 to \d+", said), said


def at_home(script: str, folder: Path, ready: ReadyFile) -> str:
    """Put the places and the pid that there are here into the commands."""
    base = int(ready.nodes[0].http.rpartition(":")[2])
    script = script.replace(". .venv/bin/activate\n", "")
    script = script.replace("run/data", str(folder / "data")).replace("run/", f"{folder}/")
    pid = next(node.pid for node in ready.nodes if node.name == "node-2")
    assert script.count("PID") == 1
    script = script.replace("PID", str(pid))
    return re.sub(r"127\.0\.0\.1:170(\d\d)", lambda at: f"127.0.0.1:{base + int(at[1])}", script)


def run(script: str) -> str:
    """Run all of it in one shell, as somebody who types it; give what it shows."""
    here = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        capture_output=True,
        check=False,
        env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert not done.stderr, done.stderr
    return done.stdout
