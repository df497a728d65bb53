"""Kills a takeover at each of its steps, one after the other, and looks at what is left.

    python -m tests.rescue.crasher FOLDER

FOLDER holds `data`, a data directory. Prints how many steps there were, and how many of the
crashes left the old directory; the others left the new one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from pathlib import Path

from felix.core.catalog.catalog import CatalogLimits
from felix.proto.raft import Addresses
from felix.recovery.takeover import Founder, recover_directory
from tests.rescue.directories import CLUSTER, CLUSTER_NAME, IDS, look_into, opened

STEPS = ("open", "os.rename", "os.mkdir", "os.link", "os.remove", "sqlite3.connect", "ctypes.")
FOUNDER = Founder("n1", CLUSTER_NAME, Addresses(peers="127.0.0.1:1", rpc="127.0.0.1:2"))


def take_over(path: Path, crash_at: int) -> None:
    """Die before the step of that number."""
    count = itertools.count()

    def hook(event: str, _: object) -> None:
        if event.startswith(STEPS) and next(count) == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    recover_directory(path, FOUNDER, CatalogLimits(), plan=None)


def main(folder: Path) -> None:
    """Crash at every step there is."""
    old = new = 0
    for crash_at in itertools.count():
        path = folder / f"run{crash_at}" / "data"
        shutil.copytree(folder / "data", path)
        child = os.fork()
        if child == 0:
            take_over(path, crash_at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        with opened(path) as data:  # by whoever starts the node
            identity = data.identity
            recovered = data.journal.recover()
        if identity.cluster_id == CLUSTER:
            assert not new, f"step {crash_at}: the old one is back"
            assert identity.node_id == IDS["n1"]
            assert recovered.snapshot is None
            assert len(recovered.entries) == 4
            old += 1
        else:
            assert look_into(path).catalog.counts()["Tenant"] == 3
            (aside,) = path.parent.glob("data.aside-*")
            with opened(aside) as data:
                assert len(data.journal.recover().entries) == 4
            new += 1
        shutil.rmtree(path.parent)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            print(crash_at, old)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
