"""Contexts: a file of one's own, tokens that nobody sees, and what counts before what."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.cli.admin.contexts import Context, Contexts, load, save
from tests.cli.admin_gate import Gate, standing

TOKEN = "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"
OTHER = "other.token.entirely"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "felix" / "admin.yaml"
    monkeypatch.delenv("FELIX_ADMIN_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return path


@pytest.fixture
def gate() -> Iterator[tuple[Gate, str]]:
    found = Gate()
    with standing(found) as endpoint:
        yield found, endpoint


def run(command: str, typed: str = "", **env: str) -> Result:
    environment = {f"FELIX_ADMIN_{name}": value for name, value in env.items()}
    return CliRunner(env=environment).invoke(main, command.split(), input=typed)


def done(command: str, typed: str = "", **env: str) -> str:
    result = run(command, typed, **env)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_context_is_made_shown_used_and_forgotten(file: Path) -> None:
    said = done("context set prod -e n1:1 -e n2:2 --tenant acme -n billing")
    assert said == "context prod is set, and current\n"
    assert done("context set test -e t:1 --ca-file ca.pem") == "context test is set\n"
    shown = json.loads(done("context show -o json"))
    assert shown == {
        "name": "prod",
        "file": str(file),
        "endpoints": ["http://n1:1", "http://n2:2"],
        "tenant": "acme",
        "namespace": "billing",
    }
    done("context use test")
    assert json.loads(done("context show -o json"))["endpoints"] == ["https://t:1"]
    assert run("context delete test").exit_code == 2
    done("context delete test --yes")
    assert [one["name"] for one in json.loads(done("context list -o json"))] == ["prod"]
    assert run("context show").exit_code == 2
    assert run("context use test").exit_code == 2


def test_what_is_not_named_stays_and_an_empty_value_takes_away(file: Path) -> None:
    done("context set prod -e n1:1 --tenant acme --token-file /run/token")
    CliRunner().invoke(main, ["context", "set", "prod", "--tenant", "", "-n", "billing"])
    context = load(file).named("prod")
    assert (context.tenant, context.namespace) == ("", "billing")
    assert (context.endpoints, context.token_file) == (("http://n1:1",), "/run/token")


def test_the_file_is_for_its_owner_alone_from_its_birth(file: Path) -> None:
    before = os.umask(0)
    try:
        done("context set prod -e n1:1 --token-stdin", TOKEN)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


def test_a_file_with_tokens_that_others_may_read_is_refused(file: Path) -> None:
    done("context set prod -e n1:1 --token-stdin", TOKEN)
    file.chmod(0o640)
    result = run("context list")
    assert result.exit_code == 2
    assert f"Try: chmod 600 {file}" in result.stderr
    file.chmod(0o600)
    done("context list")


def test_a_token_is_never_shown(file: Path) -> None:
    said = done("context set prod -e n1:1 --token-stdin", f"{TOKEN}\n")
    for output in ("table", "json", "yaml"):
        said += done(f"context show -o {output}") + done(f"context list -o {output}")
    assert TOKEN not in said
    assert "stored here" in said
    assert load(file).named("prod").token == TOKEN
    assert TOKEN not in repr(load(file))
    assert OTHER not in repr(Context(refresh_token=OTHER))


@pytest.mark.parametrize(
    "text", ["contexts: [", "nonsense: 1", f"contexts: {{a: {{token: 1, x: {TOKEN}}}}}", "[]", "\0"]
)
def test_a_file_that_is_none_is_refused_without_quoting_it(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)
    result = run("context list")
    assert result.exit_code == 2
    assert "is not a file of contexts" in result.stderr
    assert f"Try: correct it, or set it aside: mv {file}" in result.stderr
    assert TOKEN not in result.output


def test_a_context_has_one_source_of_tokens(file: Path) -> None:
    both = "context set prod -e n1:1 --token-file f --token-env V"
    assert run(both).exit_code == 2
    assert not file.exists()
    done("context set prod -e n1:1 --token-stdin", TOKEN)
    done("context set prod --token-env V")
    context = load(file).named("prod")
    assert (context.token, context.token_env) == ("", "V")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 64, "ä"])
def test_a_name_that_is_none_is_refused(file: Path, name: str) -> None:
    result = CliRunner().invoke(main, ["context", "set", "-e", "n1:1", "--", name])
    assert result.exit_code == 2
    assert not file.exists()


def test_a_context_without_a_node_is_refused(file: Path) -> None:
    result = run("context set prod --tenant acme")
    assert result.exit_code == 2
    assert "Try: felix-admin context set prod --endpoint HOST:PORT" in result.stderr


@pytest.mark.slow
def test_its_token_is_shown_to_its_own_endpoints_and_to_nobody_else(
    file: Path, gate: tuple[Gate, str]
) -> None:
    door, endpoint = gate
    save(file, Contexts().with_context("prod", Context(endpoints=(endpoint,), token=TOKEN)))
    run("tenant list")
    assert door.shown == [f"Bearer {TOKEN}"]
    run(f"tenant list -e {endpoint}")
    run("tenant list", ENDPOINTS=endpoint)
    assert door.shown[1:] == [None, None]


@pytest.mark.slow
def test_an_option_counts_before_its_variable_and_that_before_the_context(
    file: Path, gate: tuple[Gate, str], tmp_path: Path
) -> None:
    door, endpoint = gate
    renewed, given = tmp_path / "renewed", tmp_path / "given"
    given.write_text("given.on.the-line")
    context = Context(endpoints=(endpoint,), token_file=str(renewed), tenant="acme")
    save(file, Contexts().with_context("prod", context).with_context("empty", Context()))
    for text in ("first.one", "second.one"):
        renewed.write_text(f"{text}\n")
        run("namespace list")
    run("namespace list", TOKEN=OTHER)
    run(f"namespace list --token-file {given}", TOKEN=OTHER)
    said = [(one or "").removeprefix("Bearer ") for one in door.shown]
    assert said == ["first.one", "second.one", OTHER, "given.on.the-line"]
    run("namespace list")
    run("namespace list", TENANT="second")
    run("namespace list --tenant third", TENANT="second")
    tenants = [path.split("/")[3] for path in door.paths[-3:]]
    assert tenants == ["acme", "second", "third"]
    assert "missing: --tenant" in run(f"namespace list --context empty -e {endpoint}").stderr


@pytest.mark.slow
def test_the_object_itself_is_never_taken_from_a_context(
    file: Path, gate: tuple[Gate, str]
) -> None:
    door, endpoint = gate
    save(file, Contexts().with_context("p", Context(endpoints=(endpoint,), tenant="acme")))
    for env in ({}, {"TENANT": "acme"}):
        result = run("tenant delete --yes", **env)
        assert result.exit_code == 2
        assert "missing: --tenant" in result.stderr
    assert door.paths == []
