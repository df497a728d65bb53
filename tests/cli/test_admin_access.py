"""How `felix-admin` is let in: tokens, certificates, and what it says when it is not."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.cli.admin.client import Access
from felix.cli.admin.errors import HINTS
from tests.cli.admin_gate import Gate, standing
from tests.cli.admin_site import a_site
from tests.support.certificates import make_pair

pytestmark = pytest.mark.slow

TOKEN = "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"


def status(*options: str, **env: str) -> Result:
    cleared = dict.fromkeys(("ENDPOINTS", "TOKEN", "TOKEN_FILE", "CA_FILE"))
    environment = {f"FELIX_ADMIN_{name}": value for name, value in (cleared | env).items()}
    return CliRunner(env=environment).invoke(main, ["cluster", "status", *options])


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return str(path)


def test_the_token_comes_from_a_file_or_the_environment(token_file: str) -> None:
    gate = Gate()
    with standing(gate) as endpoint:
        status("-e", endpoint)
        status("-e", endpoint, "--token-file", token_file)
        status("--token-file", token_file, ENDPOINTS=endpoint, TOKEN="another")
        status("-e", endpoint, TOKEN_FILE=token_file)
        status("-e", endpoint, TOKEN=TOKEN)
    assert gate.shown == [None, *[f"Bearer {TOKEN}"] * 4]


def test_there_is_no_option_that_takes_a_token_itself() -> None:
    options = {
        one
        for group in main.commands.values()
        if isinstance(group, click.Group)
        for command in group.commands.values()
        for parameter in command.params
        for one in parameter.opts
    }
    assert "--token-file" in options
    assert "--token" not in options


@pytest.mark.parametrize(("code", "exit_status"), [("unauthorized", 401), ("forbidden", 403)])
def test_being_refused_ends_with_the_next_thing_to_try(
    token_file: str, code: str, exit_status: int
) -> None:
    gate = Gate()
    gate.code, gate.status = code, exit_status
    with standing(gate) as endpoint:
        refused = status("-e", endpoint, "--token-file", token_file)
    assert refused.exit_code == 1
    assert f"({code})" in refused.stderr
    assert f"Try: {HINTS[code]}" in refused.stderr
    assert TOKEN not in refused.output


@pytest.mark.parametrize("content", ["", "two words", "tökén", "a\nb"])
def test_a_file_with_something_else_is_refused_and_not_repeated(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    refused = status("--token-file", str(path))
    assert refused.exit_code == 2
    assert "is no token" in refused.stderr
    assert not content or content not in refused.output.replace("\n", " ")
    assert status("--token-file", str(tmp_path / "absent")).exit_code == 2
    assert status(TOKEN="two words").exit_code == 2


def test_a_token_does_not_follow_a_redirect(token_file: str) -> None:
    elsewhere, gate = Gate(), Gate()
    with standing(elsewhere) as thief, standing(gate) as endpoint:
        gate.status, gate.location = 307, f"http://{thief}/"
        status("-e", endpoint, "--token-file", token_file)
    assert len(gate.shown) == 1
    assert elsewhere.shown == []


def test_a_new_node_is_not_shown_the_token(token_file: str) -> None:
    newcomer, member = Gate(), Gate()
    command = ["cluster", "add", "n4", "--token-file", token_file]
    with standing(newcomer) as node, standing(member) as endpoint:
        result = CliRunner().invoke(main, [*command, "-e", endpoint, "--node", node])
    assert result.exit_code == 1
    assert newcomer.shown == [None]
    assert member.shown == []


def test_a_node_with_tls_is_asked_if_somebody_vouches_for_it(
    tmp_path: Path, token_file: str
) -> None:
    pair = make_pair(tmp_path)
    gate = Gate()
    with standing(gate, pair) as endpoint:
        options = ("--token-file", token_file, "-e")
        unknown = status(*options, f"https://{endpoint}")
        assert unknown.exit_code == 3
        assert "--ca-file" in unknown.stderr
        assert gate.shown == [], "nobody unknown is shown a token"
        status(*options, f"https://{endpoint}", "--ca-file", pair.cert_file)
        status(*options, endpoint, CA_FILE=pair.cert_file)
    assert gate.shown == [f"Bearer {TOKEN}"] * 2


def test_a_node_without_tls_is_not_taken_for_one_with(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    with a_site() as site:
        refused = status("-e", site.endpoint, "--ca-file", pair.cert_file)
        assert refused.exit_code == 3
        assert "does not speak TLS" in refused.stderr
        plain = status("-e", f"http://{site.endpoint}", "--ca-file", pair.cert_file)
        assert plain.exit_code == 0


def test_a_file_without_certificates_is_a_usage_error(tmp_path: Path, token_file: str) -> None:
    for path in (token_file, str(tmp_path / "absent")):
        refused = status("--ca-file", path)
        assert refused.exit_code == 2
        assert "Try: " in refused.stderr
        assert TOKEN not in refused.output


def test_the_token_is_not_shown_by_what_holds_it() -> None:
    assert TOKEN not in repr(Access(TOKEN))
