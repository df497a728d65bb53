"""What the tests of `felix-admin` share: a cluster in memory behind HTTP, and the tool."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from click.testing import CliRunner, Result

from felix.cli.admin import main
from tests.support.http_server import serving
from tests.support.local_cluster import LocalCluster

ROOT = Path(__file__).parents[2]


class Site:
    """A cluster of three behind HTTP, and `felix-admin` beside it."""

    def __init__(self, cluster: LocalCluster, endpoint: str) -> None:
        self.cluster = cluster
        self.endpoint = endpoint

    def run(self, command: str, endpoints: str | None = None) -> Result:
        """Run `felix-admin cluster ...`; there is no terminal."""
        env = {"FELIX_ADMIN_ENDPOINTS": self.endpoint if endpoints is None else endpoints}
        return CliRunner(env=env).invoke(main, ["cluster", *command.split()])

    def done(self, command: str, endpoints: str | None = None) -> Result:
        """Run it; it must work."""
        result = self.run(command, endpoints)
        assert result.exit_code == 0, result.output
        return result

    def refused(self, command: str, code: int, endpoints: str | None = None) -> str:
        """Run it; it must end so, say the next thing to try, and nothing on stdout."""
        result = self.run(command, endpoints)
        assert result.exit_code == code, result.output
        assert re.search(r"^Try: \S", result.stderr, re.MULTILINE)
        assert result.stdout == ""
        return result.stderr

    @property
    def names(self) -> list[str]:
        return sorted(one.name for one in self.cluster.membership.members)


@contextmanager
def a_site() -> Iterator[Site]:
    """Serve a fresh cluster until the block ends; a learner needs three looks to catch up."""
    cluster = LocalCluster("n1", "n2", "n3", learner_lag=900, catch_up=600)
    with serving(cluster) as endpoint:
        yield Site(cluster, endpoint)


def closed_port() -> str:
    """Give an endpoint that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def until_it_shows(site: Site, command: str, wanted: str) -> tuple[int, str]:
    """Run what never ends on a terminal; interrupt it once it has shown something."""
    ours, theirs = pty.openpty()
    with started(site, command.split(), theirs, theirs) as process:
        os.close(theirs)
        shown = b""
        while wanted.encode() not in shown:
            shown += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        return process.wait(10), shown.decode()


def started(
    site: Site, words: list[str], terminal: int, stdout: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start the program with its input and its errors on a terminal."""
    code = "from felix.cli.admin import main; main(prog_name='felix-admin')"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=terminal,
        stdout=stdout,
        stderr=terminal,
        cwd=ROOT,
        env=os.environ | {"FELIX_ADMIN_ENDPOINTS": site.endpoint, "TERM": "xterm"},
    )


def on_a_terminal(
    site: Site, command: str, typed: str, stdout: Path, noun: str = "cluster"
) -> tuple[int, str]:
    """Run it on a terminal of its own, but for its result; type; give exit code and display."""
    ours, theirs = pty.openpty()
    with stdout.open("wb") as result:
        process = started(site, [*noun.split(), *command.split()], theirs, result)
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    with contextlib.suppress(OSError):  # the end of the process closes the other end
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    return process.wait(10), shown.decode()
