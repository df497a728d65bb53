"""`felix-admin debug bundle` on real nodes: whole, without a quorum, without secrets."""

from __future__ import annotations

import base64
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pytest
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.cli.admin.options import TOKEN_VARIABLE
from felix.cli.config import BootstrapConfig, Config
from felix.cli.debug_bundle import MANIFEST, Manifest
from felix.cli.debug_gathering import OF_THE_API, OF_THE_PROBES, Integrity
from tests.metrics.exposition import read
from tests.support.cluster import KEK, Cluster, RunningNode, cluster, is_free
from tests.support.keys import KeyRing
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

JWT: Final = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.cGxhbnRlZCBzaWduYXR1cmU"
SECRETS: Final = {
    "bootstrap token": "planted-bootstrap-token",
    "previous bootstrap token": "planted-previous-token",
    "token of the operator": "planted.operator.token",
    "password in the log": "planted-password",
    "password in a URL": "planted-url-password",
    "key-encryption key": KEK,
    "another key": base64.b64encode(b"planted key of thirty-two bytes!").decode(),
    "token in the log": JWT,
}
LOG: Final = f"""\
2026-01-01T00:00:00Z [info] request_refused given={JWT}
{{"event": "asked", "authorization": "Bearer {SECRETS["token of the operator"]}"}}
connecting to https://felix:{SECRETS["password in a URL"]}@idp.example/
password: {SECRETS["password in the log"]}
the kek was {KEK} and is {SECRETS["another key"]}
the token is {SECRETS["bootstrap token"]}, before {SECRETS["previous bootstrap token"]}
this line stays
"""


def with_secrets(config: Config) -> Config:
    return msgspec.structs.replace(
        config,
        bootstrap=BootstrapConfig(
            token=SECRETS["bootstrap token"],
            previous_token=SECRETS["previous bootstrap token"],
        ),
    )


def bundle(out: Path, nodes: list[RunningNode], *options: str) -> Result:
    """Ask the first node; the others are found by what it says."""
    token = {TOKEN_VARIABLE: SECRETS["token of the operator"]}
    endpoint = ["-e", nodes[0].config.listen.http]
    command = ["debug", "bundle", "--out", str(out), *endpoint, *options]
    return CliRunner(env=token).invoke(main, command)


def files_of(out: Path) -> dict[str, bytes]:
    """Unpack an archive; its manifest is right."""
    with tarfile.open(out) as archive:
        read_all = {
            one.name.partition("/")[2]: archive.extractfile(one) for one in archive.getmembers()
        }
        files = {name: file.read() for name, file in read_all.items() if file is not None}
    manifest = manifest_of(files)
    assert {one.path for one in manifest.entries} == set(files) - {MANIFEST}
    for one in manifest.entries:
        assert sha256(files[one.path]).hexdigest() == one.sha256
    return files


def manifest_of(files: dict[str, bytes]) -> Manifest:
    return msgspec.json.decode(files[MANIFEST], type=Manifest)


def test_a_bundle_has_all_of_every_node_and_no_secret_that_was_planted(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path)
    with cluster(http=True, keys=keys, adjust=with_secrets) as three:
        three.wait_converged()
        log = tmp_path / "planted.log"
        log.write_text(LOG)
        result = bundle(
            tmp_path / "b.tar.gz",
            three.nodes,
            *("--log", str(log), "--log", str(three.nodes[0].log)),
            *("--config", str(three.nodes[0].config_file)),
        )
        assert result.exit_code == 0, result.output
        secrets = SECRETS | {
            f"CURVE key of {one.name}": keys.pair(one.name).secret for one in three.nodes
        }
    assert "3 nodes that answered" in result.stdout
    files = files_of(tmp_path / "b.tar.gz")
    assert_no_secret_is_in(files, secrets)
    assert manifest_of(files).missing == []
    assert_every_node_is_in(files)
    assert b"this line stays" in files["local/log/planted.log"]
    assert files["local/config/n1.yaml"] == files["nodes/n1/config.yaml"]
    assert b"token: <hidden>" in files["local/config/n1.yaml"]
    integrity = msgspec.json.decode(files["integrity.json"], type=Integrity)
    assert (integrity.verdict, len(integrity.standings)) == ("agree", 3)
    planted = next(one for one in manifest_of(files).entries if one.path.endswith("planted.log"))
    assert sum(planted.redacted.values()) >= len(SECRETS)


def assert_no_secret_is_in(files: dict[str, bytes], secrets: dict[str, str]) -> None:
    for path, data in files.items():
        for what, secret in secrets.items():
            assert secret.encode() not in data, f"{path} has the {what}"


def assert_every_node_is_in(files: dict[str, bytes]) -> None:
    wanted = {*OF_THE_API, *OF_THE_PROBES, "config.yaml"}
    for name in ("n1", "n2", "n3"):
        assert {path for path in wanted if f"nodes/{name}/{path}" in files} == wanted
        read(files[f"nodes/{name}/metrics.txt"].decode())
        assert files[f"nodes/{name}/ready.txt"] == b"200 ok\n"
    assert {"cluster/brokers.json", "cluster/shard-moves.json"} <= set(files)


def test_a_bundle_needs_no_quorum_and_says_what_is_missing(tmp_path: Path) -> None:
    with cluster(http=True) as three:
        left, *lost = three.nodes
        for node in lost:
            node.kill()
        eventually(lambda: left.metrics()["felix_raft_has_leader"] == 0, 30)
        result = bundle(tmp_path / "b.tar.gz", [left])
        assert result.exit_code == 0, result.output
        assert_without_the_last_one_too(tmp_path, three)
    assert "1 nodes that answered" in result.stdout
    assert "metrics.txt" in result.stderr
    files = files_of(tmp_path / "b.tar.gz")
    assert {path.split("/")[1] for path in files if path.startswith("nodes/")} == {"n1"}
    assert files["nodes/n1/ready.txt"].startswith(b"503 ")
    missing = {(one.node, one.what): one.why for one in manifest_of(files).missing}
    for name in ("n2", "n3"):
        for document in ("report.json", "metrics.txt"):
            assert (name, document) in missing
    assert "status 503" in missing["cluster", "placement-plan.json"]  # only a leader has one


def assert_without_the_last_one_too(tmp_path: Path, three: Cluster) -> None:
    """There is an archive, and the command says that it found nobody."""
    three.nodes[0].kill()
    eventually(lambda: is_free(three.nodes[0].config.listen.http), 30)
    result = bundle(tmp_path / "none.tar.gz", three.nodes[:1])
    assert result.exit_code == 3, result.output
    assert "Try: name the nodes" in result.stderr
    assert manifest_of(files_of(tmp_path / "none.tar.gz")).missing
