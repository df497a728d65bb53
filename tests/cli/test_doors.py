"""What a node says of its doors when it starts, and what it hands to its HTTP processes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from felix.cli.config import (
    AuthConfig,
    BootstrapConfig,
    Config,
    CurveConfig,
    HttpConfig,
    KeysConfig,
    LimitsConfig,
    ListenConfig,
    TlsConfig,
)
from felix.cli.doors import open_doors
from felix.cli.http_child import http_settings
from felix.http.settings import HttpSettings

CLOSED = Config(
    name="n1",
    data_dir="data",
    curve=CurveConfig(secret_key_file="key", allow_list_file="allowed"),
    tls=TlsConfig(cert_file="cert", key_file="key"),
)
TOKEN = "correct-horse-battery"


def with_changes(**changes: object) -> Config:
    return msgspec.structs.replace(CLOSED, **changes)


def test_a_node_whose_doors_are_closed_says_nothing() -> None:
    assert open_doors(CLOSED) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"auth": AuthConfig(mode="open")}, ["http 127.0.0.1:8443", "this machine", "auth.mode"]),
        ({"auth": AuthConfig(open_feeds=True)}, ["http", "change feeds"]),
        ({"bootstrap": BootstrapConfig(enabled=True, token=TOKEN)}, ["bootstrap", "switch it off"]),
        (
            {"curve": CurveConfig(), "listen": ListenConfig(peers="10.0.0.1:8444")},
            ["peers 10.0.0.1:8444", "THE NETWORK", "rpc", "watch", "every caller is trusted"],
        ),
        (
            {"tls": TlsConfig(), "listen": ListenConfig(http="0.0.0.0:1", metrics="0.0.0.0:2")},
            ["http 0.0.0.0:1", "metrics 0.0.0.0:2", "not encrypted"],
        ),
    ],
)
def test_each_open_door_is_named(changes: dict[str, object], words: list[str]) -> None:
    said = "\n".join(open_doors(with_changes(**changes)))
    assert all(word in said for word in words), said
    assert TOKEN not in said


def test_http_that_is_off_is_no_door() -> None:
    off = with_changes(http=HttpConfig(enabled=False), auth=AuthConfig(mode="open"))
    assert open_doors(off) == []


def test_the_http_processes_are_told_what_the_configuration_says(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    config = with_changes(
        auth=AuthConfig(
            mode="open",
            open_feeds=True,
            accept_broker_tokens=False,
            issuer_changes="cluster",
            token_lifetime_s=600,
            refresh_lifetime_s=7,
            idp_private_addresses=True,
            identity_age_max_s=8,
        ),
        keys=KeysConfig(
            kek_file="k", previous_kek_files=("a",), publish_lead_s=11, retire_after_s=12
        ),
        limits=LimitsConfig(client_requests_per_s=9),
        oidc_allowed_algorithms=("EdDSA",),
        bootstrap=BootstrapConfig(
            enabled=True,
            bind_addr="127.0.0.1:1",
            token_file=str(token_file),
            previous_token="previous-token-of-it",
        ),
    )
    settings = http_settings(config, "ipc://rpc")
    assert (settings.is_open, settings.open_feeds, settings.issuer_changes_need_cluster) == (
        (True,) * 3
    )
    assert (settings.client_requests_per_s, settings.idp_private_addresses) == (9, True)
    assert (settings.key_publish_lead_s, settings.key_retire_after_s) == (11, 12)
    assert settings.bootstrap_bind == "127.0.0.1:1"
    assert settings.bootstrap_tokens == (TOKEN, "previous-token-of-it")
    assert (settings.cert_file, settings.key_file) == ("cert", "key")
    identity = settings.identity
    assert (identity.algorithms, identity.accept_broker_tokens) == (("EdDSA",), False)
    assert (identity.token_lifetime_s, identity.refresh_lifetime_s) == (600, 7)
    assert (identity.kek_file, identity.previous_kek_files) == ("k", ("a",))
    assert identity.identity_age_max_s == 8


def test_without_bootstrap_the_http_processes_know_no_token() -> None:
    settings = http_settings(
        with_changes(bootstrap=BootstrapConfig(token=TOKEN, token_file="")), "ipc://rpc"
    )
    assert (settings.bootstrap_bind, settings.bootstrap_tokens) == ("", ())
    assert HttpSettings().bootstrap_tokens == ()
