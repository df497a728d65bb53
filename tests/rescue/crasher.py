"""Kills a takeover at each of its steps, one after the other, and looks at what is left.

    python -m tests.rescue.crasher FOLDER

FOLDER holds `data`, a data directory. Prints how many steps there were, and how many of the
crashes left the old directory; the others left the new one.

    python -m tests.rescue.crasher FOLDER beside|inside

FOLDER holds `b`, a backup that is restored into an empty directory: built beside it, or inside, as
in the root of a volume. Prints how many crashes left it unused, how many left what no node starts
from, and how many the new one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from felix.core.catalog.catalog import CatalogLimits
from felix.proto.raft import Addresses
from felix.recovery.directory import is_unused
from felix.recovery.takeover import Founder, recover_directory, restore_backup
from felix.storage.data_dir import DataDir
from felix.storage.errors import Damaged
from felix.storage.ports import Identity, Owner
from tests.rescue.directories import CLUSTER, CLUSTER_NAME, IDS, look_into, opened

STEPS = ("open", "os.rename", "os.mkdir", "os.link", "os.remove", "sqlite3.connect", "ctypes.")
FOUNDER = Founder("n1", CLUSTER_NAME, Addresses(peers="127.0.0.1:1", rpc="127.0.0.1:2"))


def crashing(command: Callable[[], object], crash_at: int) -> int:
    """Run a command in a process that dies before the step of that number; give how it ended."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    count = itertools.count()

    def hook(event: str, _: object) -> None:
        if event.startswith(STEPS) and next(count) == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    command()
    os._exit(0)


def recover(folder: Path) -> None:
    """Crash at every step there is."""
    old = new = 0
    for crash_at in itertools.count():
        path = folder / f"run{crash_at}" / "data"
        shutil.copytree(folder / "data", path)
        status = crashing(
            lambda path=path: recover_directory(path, FOUNDER, CatalogLimits(), plan=None),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            crash_at,
        )
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


def restore(folder: Path, where: str) -> None:
    """Crash at every step there is."""
    counts = dict.fromkeys(("unused", "refused", "new"), 0)
    for crash_at in itertools.count():
        path = folder / f"run{crash_at}" / "data"
        path.mkdir(parents=True)
        if where == "inside":
            (path / "lost+found").mkdir()
        status = crashing(
            lambda path=path: restore_backup(  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                folder / "b", path, FOUNDER, CatalogLimits(), replace=False
            ),
            crash_at,
        )
        counts[what_is_left(path)] += 1
        shutil.rmtree(path.parent)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            print(*counts.values())
            return


def what_is_left(path: Path) -> str:
    """Start as a node that would found a new cluster in an empty directory."""
    if is_unused(path):
        return "unused"
    identity = Identity(CLUSTER, IDS["n1"], FOUNDER.name, CLUSTER_NAME)
    try:
        data = DataDir.open(path, Owner(CLUSTER_NAME, FOUNDER.name), lambda: identity)
    except Damaged:
        return "refused"
    fresh = data.fresh
    data.close()
    assert not fresh, f"an empty cluster from {sorted(path.iterdir())}"
    assert look_into(path).catalog.counts()["Tenant"] == 3
    return "new"


if __name__ == "__main__":
    if len(sys.argv) == 2:
        recover(Path(sys.argv[1]))
    else:
        restore(Path(sys.argv[1]), sys.argv[2])
