"""The house rules that a machine can keep: arrows between folders, packaging, purity."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("actors", "cli", "core", "http", "identity", "proto", "recovery", "storage", "transport")

ALLOWED = {
    "proto": {"proto"},
    "core": {"core", "proto"},
    "storage": {"storage", "proto"},
    "transport": {"transport", "proto"},
    "actors": {"actors", "core", "storage", "transport", "proto"},
    "identity": {"identity", "core", "storage", "transport", "proto"},
    "http": {"http", "identity", "transport", "proto"},
    "recovery": {"recovery", "core", "storage", "transport", "proto"},
    "cli": set(FOLDERS),
}
"""Who may import whom."""

IMPURE = {
    "asyncio", "os", "pathlib", "pykka", "random", "secrets", "select", "socket", "sqlite3",
    "subprocess", "tempfile", "threading", "time", "uuid", "zmq", "datetime", "falcon",
}  # fmt: skip
ALLOWED_IMPURE = {("core/raft/standing.py", "random")}
"""The type of the injected source of chance, nothing of the module's own state."""

MODULE_LINES_MAX = 560


def _modules(folder: str) -> Iterator[Path]:
    yield from sorted((ROOT / folder).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_what_the_design_allows(folder: str) -> None:
    for path in _modules(folder):
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] == "felix" and len(parts) > 1:
                assert parts[1] in ALLOWED[folder], f"{path} imports {name}"
            assert parts[0] not in {"tests", "bench"}, f"{path} imports {name}"


@pytest.mark.parametrize("folder", ["core", "proto"])
def test_a_pure_folder_imports_no_clock_thread_socket_file_or_chance(folder: str) -> None:
    for path in _modules(folder):
        for name in _imports(path):
            top = name.split(".")[0]
            allowed = (str(path.relative_to(ROOT)), top) in ALLOWED_IMPURE
            assert top not in IMPURE or allowed, f"{path} imports {name}"


def test_the_links_and_the_map_say_the_same() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    mapped = dict(
        line.split(" = ")
        for line in config["options"]["package_dir"].strip().splitlines()
        if not line.startswith("felix =")
    )
    links = {
        f"felix.{link.name}": link.readlink().name
        for link in (ROOT / "felix").iterdir()
        if link.is_symlink()
    }
    assert mapped == links == {f"felix.{folder}": folder for folder in FOLDERS}


def test_every_folder_with_modules_is_packaged() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packaged = set(config["options"]["packages"].split())
    found = {"felix"} | {
        "felix." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for path in _modules(folder)
    }
    assert packaged == found


def test_http_has_no_init_and_hides_nothing() -> None:
    assert not (ROOT / "http" / "__init__.py").exists()
    probe = subprocess.run(
        [sys.executable, "-c", "import http.client; print(http.client.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert not Path(probe.stdout.strip()).is_relative_to(ROOT / "http")


def test_no_module_grows_beyond_what_one_can_read() -> None:
    for folder in (*FOLDERS, "bench", "tests"):
        for path in _modules(folder):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= MODULE_LINES_MAX, f"{path} has {lines} lines"


def test_no_test_sleeps() -> None:
    for path in _modules("tests"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert ast.unparse(node.func) != "time.sleep", f"{path}:{node.lineno} sleeps"


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_folder(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, unpacked], check=True, timeout=60)
    code = (
        "import felix, sys; from felix.cli.server import main; import felix.http.app; "
        "import http.client; from felix.http.dashboard import FOLDER, PAGE; "
        "assert (FOLDER / PAGE).exists(); print(felix.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(unpacked), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(unpacked)
