"""What is taken out of a debug bundle, and what stays in."""

from __future__ import annotations

import base64
import json
import tarfile
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from felix.cli.config import BootstrapConfig, Config, CurveConfig, KeysConfig
from felix.cli.debug_bundle import MANIFEST, Bundle, Manifest, folder_name
from felix.cli.debug_redaction import REDACTED, Redactor, secrets_of

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret", "kind"),
    [
        (f'{{"event": "seen", "given": "{JWT}"}}', JWT, "JSON web token"),
        ("Authorization: Basic Ym9iOnNlY3JldA==", "Ym9iOnNlY3JldA", "credential in a header"),
        ("sent bearer abcdef123456", "abcdef123456", "credential in a header"),
        (f"key:\n{PEM}\nend", "MHcCAQEEIA", "private key"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "cut off", "private key"),
        ("get https://bob:hunter2@idp.example/x", "hunter2", "password in a URL"),
        ("password=hunter2, next", "hunter2", "value of a secret's name"),
        ('{"client_secret": "hunter 2", "a": 1}', "hunter 2", "value of a secret's name"),
        ("kek: c2VjcmV0", "c2VjcmV0", "value of a secret's name"),
        ("X-Felix-Bootstrap-Token: s3cr3t", "s3cr3t", "value of a secret's name"),
        (
            f"opened {base64.b64encode(b'k' * 32).decode()}",
            base64.b64encode(b"k" * 32).decode(),
            "32 bytes in base64",
        ),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, secret: str, kind: str) -> None:
    clean, counts = Redactor().clean(text.encode())
    assert secret not in clean.decode()
    assert REDACTED in clean.decode()
    assert counts[kind] >= 1


@pytest.mark.parametrize(
    "text",
    [
        "token_lifetime_s: 900",
        "token_file: /etc/felix/token",
        "kek: <hidden>\ntoken: ''",
        '{"digest": "8a06428a358f768cbc2ed564e6fc19ff8a06428a358f768cbc2ed564e6fc19ff"}',
        'felix_http_refusals_total{code="unauthorized"} 3.0',
        "the token of the tenant has expired",
        "https://idp.example:8443/realms/a",
        "cluster felix, node 0123456789abcdef0123456789abcdef",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().clean(text.encode()) == (text.encode(), {})


def test_a_known_secret_is_taken_out_wherever_it_stands() -> None:
    clean, counts = Redactor(["correct horse", "", "short"]).clean(b"a correct horse, short")
    assert clean == f"a {REDACTED}, short".encode()
    assert counts == {"known secret": 1}


def test_the_secrets_of_a_configuration_are_those_in_it_and_those_in_files_it_names(
    tmp_path: Path,
) -> None:
    key = tmp_path / "key"
    key.write_text("# Whoever has this file is its owner.\nsecret-key 0123456789abcdefghijklmnop\n")
    config = Config(
        name="n1",
        data_dir="d",
        keys=KeysConfig(kek="the kek itself", kek_file=str(tmp_path / "absent")),
        bootstrap=BootstrapConfig(token="the bootstrap token"),
        curve=CurveConfig(secret_key_file=str(key)),
    )
    found = set(secrets_of(config))
    assert {"the kek itself", "the bootstrap token", "0123456789abcdefghijklmnop"} <= found
    assert not any("Whoever" in one for one in found)


def test_the_manifest_lists_every_file_with_its_checksum_and_what_was_taken_out(
    tmp_path: Path,
) -> None:
    bundle = Bundle(Redactor(["hunter2hunter2"]), ["http://127.0.0.1:1"])
    bundle.add("a.txt", b"it was hunter2hunter2")
    bundle.miss("n2", "metrics.txt", "hunter2hunter2 did not let us in")
    out = tmp_path / "b.tar.gz"
    bundle.write(out)
    assert out.stat().st_mode & 0o777 == 0o600
    with tarfile.open(out) as archive:
        read = {one.name: archive.extractfile(one) for one in archive.getmembers()}
        files = {name: file.read() for name, file in read.items() if file is not None}
    assert set(files) == {"b/manifest.json", "b/a.txt"}
    manifest = msgspec.json.decode(files[f"b/{MANIFEST}"], type=Manifest)
    (entry,) = manifest.entries
    assert entry.sha256 == sha256(files["b/a.txt"]).hexdigest()
    assert entry.bytes == len(files["b/a.txt"])
    assert entry.redacted == {"known secret": 1}
    assert b"hunter2" not in b"".join(files.values())
    assert json.loads(files[f"b/{MANIFEST}"])["missing"][0]["node"] == "n2"


def test_an_archive_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "b.tar.gz"
    out.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        Bundle(Redactor(), []).write(out)
    assert out.read_bytes() == b"mine"


def test_a_node_cannot_choose_where_its_files_go() -> None:
    assert folder_name("../../etc", []) == "______etc"
    assert folder_name("", []) == "unnamed"
    assert folder_name("n1", ["n1", "n1-2"]) == "n1-3"
