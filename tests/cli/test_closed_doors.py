"""What a configuration needs so that no door is open that should not be."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from felix.cli.config import LISTENERS
from felix.cli.config_loading import load, show
from felix.cli.server import main
from tests.cli.test_config import MEMBERS, file_of, problems_of, with_changes
from tests.support.certificates import make_pair, replace_pair

KEK = base64.b64encode(b"k" * 32).decode()
TOKEN = "correct-horse-battery"
HTTP_LISTENERS = ("http", "metrics")
ZMQ_LISTENERS = ("peers", "rpc", "watch")
TLS = {"cert_file": "cert.pem", "key_file": "key.pem"}
CURVE = {"secret_key_file": "node.key", "allow_list_file": "allowed"}

Serving = Callable[..., str]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Give what `config check` says of a configuration with these changes."""

    def check(**changes: Any) -> str:
        content = with_changes(**({"keys": {"kek": KEK}} | changes))
        path = str(file_of(tmp_path, content))
        result = CliRunner().invoke(main, ["config", "check", "--config", path])
        assert (result.exit_code == 0) == (result.stderr == "")
        return result.stderr

    return check


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "[::]", "felix.example"])
def test_s16_a_listener_that_others_can_reach_needs_encryption(
    tmp_path: Path, listener: str, host: str
) -> None:
    listen = {listener: f"{host}:9000"}
    said = problems_of(tmp_path, with_changes(listen=listen))
    assert f"listen.{listener}" in said
    assert ("tls.cert_file" if listener in HTTP_LISTENERS else "curve.secret_key_file") in said
    assert "insecure" in said
    protection = {"tls": TLS} if listener in HTTP_LISTENERS else {"curve": CURVE}
    load(file_of(tmp_path, with_changes(listen=listen, **protection)), {})
    load(file_of(tmp_path, with_changes(listen=listen, insecure=True)), {})


@pytest.mark.parametrize("listener", ZMQ_LISTENERS)
def test_an_address_of_a_member_beyond_this_machine_needs_curve(
    tmp_path: Path, listener: str
) -> None:
    far = {**MEMBERS[2], listener: "10.0.0.7:9000"}
    cluster = {"members": [*MEMBERS[:2], far]}
    said = problems_of(tmp_path, with_changes(cluster=cluster))
    assert f"carol: {listener}" in said
    load(file_of(tmp_path, with_changes(cluster=cluster, curve=CURVE)), {})
    load(file_of(tmp_path, with_changes(cluster=cluster, insecure=True)), {})


def test_the_bootstrap_listener_needs_tls_as_well(tmp_path: Path) -> None:
    section = {"enabled": True, "token": TOKEN, "bind_addr": "0.0.0.0:9095"}
    assert "bootstrap.bind_addr" in problems_of(tmp_path, with_changes(bootstrap=section))
    load(file_of(tmp_path, with_changes(bootstrap=section, tls=TLS)), {})


def test_an_open_api_that_others_can_reach_is_refused_even_with_tls(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"auth": {"mode": "open"}, "listen": {"http": "0.0.0.0:8443"}}
    assert "auth.mode" in problems_of(tmp_path, with_changes(**changes, tls=TLS))
    load(file_of(tmp_path, with_changes(**changes, insecure=True)), {})
    load(file_of(tmp_path, with_changes(auth={"mode": "open"})), {})


@pytest.mark.parametrize("section", [{"tls": TLS}, {"curve": CURVE}])
def test_half_a_pair_is_refused(tmp_path: Path, section: dict[str, dict[str, str]]) -> None:
    ((name, pair),) = section.items()
    for key, value in pair.items():
        said = problems_of(tmp_path, with_changes(**{name: {key: value}}))
        assert f"{name}: " in said
        assert "belong together" in said


@pytest.mark.parametrize(
    "token", ["", "short", "fifteen-letters", "blanks in the middle", "ümläute" * 3]
)
def test_s8_a_bootstrap_token_that_is_empty_short_or_odd_is_refused(
    tmp_path: Path, token: str
) -> None:
    section = {"enabled": True, "token": token}
    said = problems_of(tmp_path, with_changes(bootstrap=section))
    assert "bootstrap." in said
    assert not token or token not in said
    section = {"enabled": True, "token": TOKEN, "previous_token": token or "x"}
    assert "previous_token" in problems_of(tmp_path, with_changes(bootstrap=section))


@pytest.mark.parametrize("content", ["", "\n", "short\n"])
def test_s8_so_is_one_in_a_file(tmp_path: Path, serving: Serving, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    assert "token_file" in serving(bootstrap={"enabled": True, "token_file": str(path)})
    path.write_text(TOKEN + "\n")
    assert serving(bootstrap={"enabled": True, "token_file": str(path)}) == ""
    assert "token_file" in serving(bootstrap={"enabled": True, "token_file": str(path) + "x"})


def test_a_token_stands_in_one_place(tmp_path: Path) -> None:
    section = {"enabled": True, "token": TOKEN, "token_file": "somewhere"}
    assert "not both" in problems_of(tmp_path, with_changes(bootstrap=section))


def test_bootstrap_is_served_by_the_http_processes(tmp_path: Path) -> None:
    section = {"enabled": True, "token": TOKEN}
    said = problems_of(tmp_path, with_changes(bootstrap=section, http={"enabled": False}))
    assert "http.enabled" in said


@pytest.mark.parametrize("word", ["1", "true", "TRUE", "True", "tRuE"])
def test_the_environment_switches_bootstrap_on_in_any_case(tmp_path: Path, word: str) -> None:
    variables = {
        "FELIX_BOOTSTRAP_ENABLED": word,
        "FELIX_BOOTSTRAP_BIND_ADDR": "127.0.0.1:1",
        "FELIX_BOOTSTRAP_TOKEN": TOKEN,
    }
    section = load(file_of(tmp_path, with_changes()), variables).bootstrap
    assert (section.enabled, section.bind_addr, section.token) == (True, "127.0.0.1:1", TOKEN)


@pytest.mark.parametrize("word", ["0", "false", "FALSE"])
def test_and_off(tmp_path: Path, word: str) -> None:
    path = file_of(tmp_path, with_changes(bootstrap={"enabled": True}))
    assert not load(path, {"FELIX_BOOTSTRAP_ENABLED": word}).bootstrap.enabled


@pytest.mark.parametrize("word", ["", "yes", "on", "2"])
def test_any_other_word_is_refused(tmp_path: Path, word: str) -> None:
    said = problems_of(tmp_path, with_changes(), FELIX_BOOTSTRAP_ENABLED=word)
    assert "FELIX_BOOTSTRAP_ENABLED" in said


def test_algorithms_come_in_any_case_and_are_taken_once(tmp_path: Path) -> None:
    name = "FELIX_CONTROLPLANE_OIDC_ALLOWED_ALGORITHMS"
    config = load(file_of(tmp_path, with_changes()), {name: "rs256, ES256,RS256 ,eddsa"})
    assert config.oidc_allowed_algorithms == ("RS256", "ES256", "EdDSA")
    path = file_of(tmp_path, with_changes(oidc_allowed_algorithms=["es256", "ES256"]))
    assert load(path, {}).oidc_allowed_algorithms == ("ES256",)


@pytest.mark.parametrize("text", ["", ",", "none", "HS256", "ES256,HS256"])
def test_unknown_algorithms_and_none_at_all_are_refused(tmp_path: Path, text: str) -> None:
    name = "FELIX_CONTROLPLANE_OIDC_ALLOWED_ALGORITHMS"
    said = problems_of(tmp_path, with_changes(), **{name: text})
    assert "oidc_allowed_algorithms" in said
    assert "PS512" in said


def test_lists_in_the_environment_have_commas(tmp_path: Path) -> None:
    path = file_of(tmp_path, with_changes())
    config = load(path, {"FELIX_KEYS_PREVIOUS_KEK_FILES": "/a, /b"})
    assert config.keys.previous_kek_files == ("/a", "/b")
    assert load(path, {"FELIX_KEYS_PREVIOUS_KEK_FILES": ""}).keys.previous_kek_files == ()


def test_a_key_stays_published_longer_than_its_tokens_live(tmp_path: Path) -> None:
    for auth, least_s, why in (
        ({"token_lifetime_s": 600}, 1500, "auth.identity_age_max_s"),
        ({"token_lifetime_s": 600, "identity_age_max_s": 100}, 700, "auth.identity_age_max_s"),
        ({"token_lifetime_s": 600, "identity_age_max_s": 1}, 660, "60 s of skew"),
    ):
        keys = {"retire_after_s": least_s - 1}
        said = problems_of(tmp_path, with_changes(auth=auth, keys=keys))
        assert f"keys.retire_after_s: at least {least_s} (auth.token_lifetime_s and {why})" in said
        keys = {"retire_after_s": least_s}
        load(file_of(tmp_path, with_changes(auth=auth, keys=keys)), {})


def test_a_key_is_published_until_every_broker_has_seen_it_before_it_signs(tmp_path: Path) -> None:
    for lead_s in (0, 3600, 3899):
        said = problems_of(tmp_path, with_changes(keys={"publish_lead_s": lead_s}))
        assert "keys.publish_lead_s: at least 3900: brokers keep a key set for 3600 s" in said
        assert "insecure: true" in said
    load(file_of(tmp_path, with_changes(keys={"publish_lead_s": 3900})), {})
    trial = with_changes(keys={"publish_lead_s": 0}, insecure=True)
    assert load(file_of(tmp_path, trial), {}).keys.publish_lead_s == 0


def test_a_node_does_not_run_without_a_kek_and_says_how_to_make_one(
    tmp_path: Path, serving: Serving
) -> None:
    assert "felix-controlplane keygen kek" in serving(keys={})
    path = tmp_path / "kek"
    CliRunner().invoke(main, ["keygen", "kek", "--out", str(path)])
    assert serving(keys={"kek_file": str(path)}) == ""
    assert "not both" in serving(keys={"kek_file": str(path), "kek": KEK})
    assert "kek_file" in serving(keys={"kek_file": str(tmp_path / "absent")})
    assert "previous_kek_files" in serving(keys={"kek": KEK, "previous_kek_files": ["absent"]})


@pytest.mark.parametrize("kek", ["short", "k" * 32, base64.b64encode(b"k" * 31).decode(), "%" * 44])
def test_a_kek_that_is_none_is_refused_and_not_repeated(serving: Serving, kek: str) -> None:
    said = serving(keys={"kek": kek})
    assert "keys.kek: not 32 bytes in base64" in said
    assert kek not in said


def test_certificates_are_looked_at_before_a_node_runs(tmp_path: Path, serving: Serving) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    one, other = (make_pair(folder) for folder in folders)
    good = {"cert_file": one.cert_file, "key_file": one.key_file}
    assert serving(tls=good) == ""
    assert "tls: " in serving(tls=good | {"cert_file": str(tmp_path / "absent.pem")})
    assert "tls: " in serving(tls=good | {"key_file": other.key_file})
    assert "tls: " in serving(tls=good | {"key_file": one.cert_file})
    replace_pair(one, "renewed")
    assert serving(tls=good) == ""


def test_all_of_it_is_reported_at_once(serving: Serving) -> None:
    said = serving(
        keys={"retire_after_s": 1},
        listen={"http": "0.0.0.0:1", "rpc": "0.0.0.0:2"},
        bootstrap={"enabled": True},
        tls={"key_file": "absent"},
    )
    for word in ("keygen", "retire_after_s", "listen.http", "listen.rpc", "token", "tls: "):
        assert word in said


def test_keys_of_a_wrong_type_are_all_named_at_once(tmp_path: Path) -> None:
    said = problems_of(tmp_path, with_changes(http={"workers": "x"}, insecure="x"))
    assert "http.workers" in said
    assert "insecure" in said


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    previous = "previous-" + TOKEN
    section = {"enabled": True, "token": TOKEN, "previous_token": previous}
    path = file_of(tmp_path, with_changes(keys={"kek": KEK}, bootstrap=section))
    config = load(path, {}, to_serve=True)
    checked = CliRunner().invoke(main, ["config", "check", "--config", str(path)])
    assert checked.exit_code == 0
    for said in (checked.output, show(config), repr(config), str(config), f"{config.bootstrap}"):
        assert not any(secret in said for secret in (KEK, TOKEN, previous))
        assert said.count("<hidden>") in {2, 3}


@pytest.mark.parametrize(
    "line",
    [
        f'token: "{TOKEN}',
        f"token: {TOKEN}\n token: {TOKEN}",
        f"token: [{TOKEN}]",
        f"token: {{{TOKEN}: 1}}",
        f"token: {TOKEN}: x",
        f"tokn: {TOKEN}",
        f"enabled: {TOKEN}",
    ],
)
def test_a_broken_line_with_a_secret_is_not_repeated(tmp_path: Path, line: str) -> None:
    said = problems_of(tmp_path, f"name: alice\ndata_dir: data\nbootstrap:\n  {line}\n")
    assert TOKEN not in said
