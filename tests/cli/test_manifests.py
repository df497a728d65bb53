"""`felix-admin apply`, `diff`, `get` and `delete`: files in, the same files out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.cli.admin.manifest_files import FILE_BYTES_MAX
from felix.cli.admin.manifest_objects import KINDS
from felix.cli.admin.manifests import COMMANDS
from felix.core.catalog.manifest_trial import SHARDS_PLANNED_MAX
from felix.http.manifests import SET_BYTES_MAX
from felix.proto.manifests import DOCUMENTS_MAX, TENANTS_MAX
from felix.proto.placement_commands import RegisterBroker
from tests.support.http_server import serving
from tests.support.local_control_plane import LocalControlPlane

pytestmark = pytest.mark.slow

SET: Final = """\
apiVersion: felix.io/v1
kind: Stream
metadata:
  name: orders
  namespace: production
  tenant: acme
spec:
  shards: 4
  retention:
    time: 7d
    size: 100GB
  durability: durable  # or ephemeral
---
# a comment, and an empty document
---
apiVersion: felix.io/v1
kind: Tenant
metadata: {name: acme}
spec:
  quotas: {max_streams: 10, max_storage: 1TB}
---
apiVersion: felix.io/v1
kind: Namespace
metadata: {name: production, tenant: acme}
"""


class Site:
    """A catalog behind HTTP, `felix-admin` beside it, and a folder for files."""

    def __init__(self, plane: LocalControlPlane, endpoint: str, folder: Path) -> None:
        self.plane = plane
        self.endpoint = endpoint
        self.folder = folder

    def write(self, text: str, name: str = "set.yaml") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *words: str | Path, stdin: str | None = None) -> Result:
        env = {"FELIX_ADMIN_ENDPOINTS": self.endpoint}
        return CliRunner(env=env).invoke(main, [str(word) for word in words], input=stdin)

    def done(self, *words: str | Path, stdin: str | None = None) -> str:
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, code: int, *words: str | Path, stdin: str | None = None) -> str:
        """Run it; it must end so, say the next thing to try, and change nothing."""
        before = self.plane.digests
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == code, result.output
        assert "\nTry: " in result.stderr
        assert self.plane.digests == before
        return result.stderr


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    plane = LocalControlPlane()
    with serving(plane) as endpoint:
        yield Site(plane, endpoint, tmp_path)


def test_a_file_is_applied_and_applied_again_without_a_change(site: Site) -> None:
    path = site.write(SET)
    assert site.done("apply", "-f", path).splitlines() == [
        "Stream acme/production/orders created",
        "Tenant acme created",
        "Namespace acme/production created",
    ]
    before = site.plane.digests
    assert site.done("apply", "-f", path).count("unchanged") == 3
    assert site.plane.digests == before


def test_diff_shows_changes_and_exits_1_and_0_when_there_is_none(site: Site) -> None:
    path = site.write(SET)
    before = site.plane.digests
    shown = site.run("diff", "-f", path)
    assert shown.exit_code == 1
    assert "  spec.retention.time: 7d\n" in shown.stdout
    assert site.plane.digests == before
    site.done("apply", "-f", path)
    assert site.done("diff", "-f", path) == ""
    later = site.run("diff", "-f", "-", stdin=SET.replace("7d", "14d"))
    assert later.exit_code == 1
    assert later.stdout == (
        "Stream acme/production/orders updated (dry run)\n  spec.retention.time: 7d -> 14d\n"
    )
    error = site.refused(2, "diff", "-f", site.write(SET.replace("shards: 4", "shards: 5")))
    assert "set.yaml:1 (document 1): Stream acme/production/orders: shards" in error


def test_a_dry_run_says_where_shards_would_go(site: Site) -> None:
    for name in ("b1", "b2"):
        site.plane.ask(RegisterBroker(broker_id=name, address=f"{name}:1", boot_id=name))
    said = site.done("apply", "--dry-run", "-f", site.write(SET))
    assert said.count("shard acme/production/orders/") == 4
    assert "created (dry run)" in said
    assert site.plane.catalog.counts()["Stream"] == 0


def test_what_get_writes_is_applied_without_a_change(site: Site) -> None:
    site.done("apply", "-f", site.write(SET))
    broker = RegisterBroker(
        broker_id="b1", address="b1:1", boot_id="x", region="eu", metadata={"rack": "07"}
    )
    site.plane.ask(broker)
    site.plane.place_shards()
    before = site.plane.digests
    for words in (("all",), ("all", "acme"), ("all", "acme/production"), ("broker",), ("stream",)):
        written = site.done("get", *words)
        assert site.done("apply", "-f", "-", stdin=written).count("unchanged") == written.count(
            "\nkind: "
        )
        as_json = site.done("get", *words, "-o", "json")
        assert yaml.safe_load(as_json) == list(yaml.safe_load_all(written))
    assert site.plane.digests == before
    orders = yaml.safe_load(site.done("get", "stream", "acme/production/orders"))
    assert orders["spec"]["retention"] == {"time": "7d", "size": "100GB"}
    placement = yaml.safe_load(site.done("get", "ShardPlacement", "acme/production/orders"))
    assert [one["leader"] for one in placement["spec"]["placements"]] == ["b1"] * 4
    named = site.done("get", "stream", "orders", "--tenant", "acme", "--namespace", "production")
    assert yaml.safe_load(named) == orders


def test_a_folder_is_one_transaction(site: Site) -> None:
    stream, _, tenant, namespace = SET.split("---\n")
    site.write(namespace, "set/a.yml")
    site.write(stream, "set/b.yaml")
    site.write(tenant, "set/c.json")
    site.write("not a document", "set/README.md")
    assert site.done("apply", "-f", site.folder / "set").count("created") == 3


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("shards: 4", "shard: 4", 8, "/spec/shard: is not known here"),
        ("shards: 4", "shards: four", 8, "expected `int | null`"),
        ("time: 7d", "time: 7 days", 10, "must be a whole number and one of"),
        ("kind: Stream", "kind: Streem", 2, "must be one of Tenant"),
        ("shards: 4", "shards: 0", 8, "must be 1 to"),
        ("  name: orders\n", "", 3, "/metadata/name: is required"),
        ("  name: orders", "  name: orders\n  name: orders", 5, "'name' is there twice"),
        ("  retention:", "  retention: &here", 9, "anchors and aliases"),
        ("shards: 4", "shards: !!python/object:os.system 4", 8, "tags are not taken"),
        ("shards: 4", "shards: [4", 9, "expected ',' or ']'"),
        ("felix.io/v1", "felix.io/v2", 1, "must be felix.io/v1"),
    ],
)
def test_what_is_wrong_is_told_by_file_line_and_member(
    site: Site, old: str, new: str, line: int, said: str
) -> None:
    path = site.write(SET.replace(old, new, 1))
    of_yaml = ("there twice", "anchors", "tags", "expected ',' or ']'")
    code = 2 if any(word in said for word in of_yaml) else 1
    error = site.refused(code, "apply", "-f", path)
    assert f"{path}:{line} (document 1)" in error, error
    assert said in error


def test_the_same_object_twice_is_told_with_both_places(site: Site) -> None:
    error = site.refused(1, "apply", "-f", site.write(SET + "---\n" + SET))
    assert "set.yaml:41 (document 7)" in error
    assert "set.yaml:16 (document 3) too" in error


def test_files_that_cannot_be_read_are_named(site: Site) -> None:
    assert "nowhere" in site.refused(2, "apply", "-f", site.folder / "nowhere")
    assert "no document" in site.refused(2, "apply", "-f", site.write(""))
    path = site.folder / "bytes.yaml"
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in site.refused(2, "apply", "-f", path)
    large = site.write("a: " + "x" * (2 << 20))
    assert "more than" in site.refused(2, "apply", "-f", large)


def test_deleting_asks_says_what_goes_and_passes_over_what_is_gone(site: Site) -> None:
    path = site.write(SET)
    site.done("apply", "-f", path)
    error = site.refused(2, "delete", "-f", path)
    assert "--yes" in error
    before = site.plane.digests
    assert "Tenant acme deleted (dry run)" in site.done("delete", "-f", path, "--dry-run")
    assert site.plane.digests == before
    said = site.done("delete", "-f", path, "--yes")
    assert said.splitlines() == [
        "Stream acme/production/orders deleted",
        "Tenant acme deleted",
        "Namespace acme/production deleted",
    ]
    assert site.done("delete", "-f", path, "--yes").count("absent") == 3


# --- the page -------------------------------------------------------------------------------------

PAGE: Final = (Path(__file__).parents[2] / "docs" / "manifests.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_work_as_they_stand(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    site.write(example, "felix.yaml")
    monkeypatch.chdir(site.folder)
    for line in commands.splitlines():
        tool, *words = shlex.split(line)
        assert tool == "felix-admin"
        site.done(*words)
    assert site.done("diff", "-f", "felix.yaml") == ""
    assert site.plane.catalog.counts()["Bridge"] == 1


def test_every_option_kind_and_limit_is_on_the_page() -> None:
    for command in COMMANDS:
        assert f"felix-admin {command.name}" in PAGE
    for kind in KINDS:
        assert re.search(rf"^\| {kind} \|", PAGE, re.MULTILINE | re.IGNORECASE), kind
    for said in (
        f"documents of a set | {DOCUMENTS_MAX} |",
        f"a set, as JSON | {SET_BYTES_MAX >> 10} KiB |",
        f"tenants of a set | {TENANTS_MAX} |",
        f"a file | {FILE_BYTES_MAX >> 20} MiB |",
        f"for the first {SHARDS_PLANNED_MAX}\n",
    ):
        assert said in PAGE
