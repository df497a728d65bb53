"""`docs/quickstart.md`: everything on it, in its order, in one shell, as somebody types it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.cluster import HOST, PORTS, is_free
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PAGE: Final = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text(encoding="utf-8")
BLOCKS: Final = re.findall(r"```(sh|text)\n(.*?)```", PAGE, re.DOTALL)
INSTALLING: Final = "make .venv/.installed\n. .venv/bin/activate\n"
"""Has been done where a test runs."""
PORTS_USED: Final = 30
MARK: Final = "--- block "
LOOK_AGAIN: Final = "call $node/v1/tenants/acme/namespaces/billing/streams/orders\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="felix-test-"))  # short: it holds ipc sockets
    yield path
    shutil.rmtree(path)


def test_every_command_of_the_page_does_and_shows_what_the_page_says(folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    hundred = a_free_hundred()
    commands = [block for kind, block in BLOCKS if kind == "sh"]
    assert commands[0].startswith(INSTALLING)
    (start,) = [block for block in commands if " serve --config node-$n.yaml" in block]
    commands += [start, LOOK_AGAIN, commands[-1]]
    script = "".join(f"echo '{MARK}{at}'\n{block}" for at, block in enumerate(commands))
    said = run(here(script.replace(INSTALLING, ""), hundred), folder)
    shown = re.split(rf"^{MARK}\d+\n", said, flags=re.MULTILINE)[1:]
    assert len(shown) == len(commands)
    at = -1
    for kind, block in BLOCKS:
        if kind == "sh":
            at += 1
            continue
        for line in block.splitlines():
            expected = re.escape(here(line, hundred)).replace("…", ".*")
            assert re.search(expected, shown[at]), (line, shown[at])
    assert '"max_age_seconds":3600' in shown[-2], "what was made is there after a stop"
    used = [f"{HOST}:{hundred * 100 + n}" for n in range(PORTS_USED)]
    eventually(lambda: all(map(is_free, used)), 30)
    heard = (folder / "quickstart" / "broker-1.log").read_text()
    assert "CREATE Stream acme/billing/orders" in heard


def here(text: str, hundred: int) -> str:
    """Put ports that are free into the text; those of the page are 17000 and the next ones."""
    return re.sub(r"\b170(?=\d\d\b|\$)", str(hundred), text)


def a_free_hundred() -> int:
    """Find a hundred of ports that begins with enough free ones."""
    return next(
        number
        for number in range(PORTS.start // 100, PORTS.stop // 100)
        if all(is_free(f"{HOST}:{number * 100 + n}") for n in range(PORTS_USED))
    )


def run(script: str, folder: Path) -> str:
    """Run all of it; give what it shows. Nothing that it starts outlives this."""
    environment = {name: text for name, text in os.environ.items() if name[:6] != "FELIX_"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    output = folder / "output"
    with output.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-e", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        try:
            code = shell.wait(200)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    said = output.read_text(errors="replace")
    assert code == 0, said
    return said
