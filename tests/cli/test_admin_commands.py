"""Commands of the table on a catalog behind HTTP: what they ask, show, refuse and ask back."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner, Result

from felix.cli.admin import main
from felix.cli.admin.client import AdminClient, Request
from felix.cli.admin.errors import OutcomeUnknown
from felix.cli.admin.tables import show_one, show_rows
from tests.cli.admin_site import Site, a_site, closed_port, on_a_terminal, until_it_shows

pytestmark = pytest.mark.slow

IN_BILLING: Final = {"FELIX_ADMIN_TENANT": "acme", "FELIX_ADMIN_NAMESPACE": "billing"}


class Place(Site):
    """A site whose commands know the tenant and the namespace."""

    def run(self, command: str, endpoints: str | None = None) -> Result:
        """Run `felix-admin ...`; there is no terminal."""
        env = {"FELIX_ADMIN_ENDPOINTS": endpoints or self.endpoint, **IN_BILLING}
        return CliRunner(env=env).invoke(main, shlex.split(command))

    def json(self, command: str) -> Any:
        """Run it, and read what it shows."""
        return json.loads(self.done(f"{command} -o json").stdout)


@pytest.fixture
def place() -> Iterator[Place]:
    with a_site() as site:
        place = Place(site.cluster, site.endpoint)
        place.done("tenant create acme")
        place.done("namespace create billing")
        yield place


def test_the_example_of_the_specification_works_as_it_stands(place: Place) -> None:
    place.done(
        "stream create --tenant acme --namespace billing --stream orders --shards 4 "
        "--retention 7d --durability durable --replication 3"
    )
    found = place.json("stream get orders")
    assert (found["shards"], found["replication_factor"], found["durable"]) == (4, 3, True)
    assert found["retention"] == {"max_age_seconds": 604_800, "max_size_bytes": None}


@pytest.mark.parametrize("spelled", ["orders", "--stream orders", "--name orders"])
def test_the_own_name_is_an_argument_or_an_option(place: Place, spelled: str) -> None:
    place.done(f"stream create {spelled} --shards 1 --durability ephemeral")
    assert place.json(f"stream get {spelled}")["stream"] == "orders"
    assert "which one?" in place.refused("stream get orders --stream others", 2)


def test_kind_and_delivery_can_be_said_without_saying_all_of_the_contract(place: Place) -> None:
    place.done("stream create jobs --shards 2 --durability durable --kind Queue")
    found = place.json("stream get jobs")
    assert (found["kind"], found["delivery"], found["durable"]) == ("Queue", "AtLeastOnce", True)


def test_a_table_and_the_other_formats_show_the_same(place: Place) -> None:
    place.done("stream create orders --shards 4 --durability durable --retention 90d")
    place.done("stream update orders --retention-size 1TB")
    lines = place.done("stream list").stdout.splitlines()
    assert lines[0].split()[:4] == ["NAME", "KIND", "SHARDS", "REPLICATION"]
    cells = ["orders", "Stream", "4", "1", "durable", "leader_only", "90d", "1TB"]
    assert lines[2].split()[:8] == cells
    as_json = place.json("stream list")
    assert yaml.safe_load(place.done("stream list -o yaml").stdout) == as_json
    assert re.search(
        r"^retention.max_age_seconds +90d$", place.done("stream get orders").stdout, re.M
    )


def test_an_update_changes_what_it_names_and_nothing_beside_it(place: Place) -> None:
    place.done("stream create orders --shards 1 --durability durable --retention 7d")
    place.done("stream update orders --retention-size 100GB")
    place.done("stream update orders --ack-policy quorum")
    assert place.json("stream get orders")["retention"] == {
        "max_age_seconds": 604_800,
        "max_size_bytes": 100_000_000_000,
    }
    place.done("stream update orders --retention none")
    assert place.json("stream get orders")["retention"]["max_age_seconds"] is None
    assert place.json("stream get orders")["ack_policy"] == "quorum"


def test_quotas_of_a_tenant_are_kept_where_one_is_changed(place: Place) -> None:
    place.done("tenant update acme --max-streams 500 --max-storage 1TB")
    place.done("tenant update acme --max-streams 600")
    quotas = place.json("tenant get acme")["quotas"]
    assert (quotas["max_streams"], quotas["max_storage_bytes"]) == (600, 10**12)
    place.done("tenant update acme --description 'all of it'")
    assert place.json("tenant get acme")["quotas"]["max_streams"] == 600


def test_a_version_that_is_not_there_any_more_changes_nothing(place: Place) -> None:
    place.done("cache create rates")
    version = place.json("cache get rates")["version"]
    place.done(f"cache update rates --display-name Rates --if-version {version}")
    said = place.refused(f"cache update rates --display-name Late --if-version {version}", 1)
    assert "Try: look again, and take its version: felix-admin cache get" in said
    assert place.json("cache get rates")["display_name"] == "Rates"


def test_a_list_puts_all_pages_together_and_stops_at_its_limit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("felix.cli.admin.runner.PAGE_SIZE", 3)
    for number in range(8):
        place.done(f"cache create c{number}")
    names = [f"c{number}" for number in range(8)]
    assert [one["cache"] for one in place.json("cache list")] == names
    assert [one["cache"] for one in place.json("cache list --limit 4")] == names[:4]
    assert [one["cache"] for one in place.json("cache list --filter c[67]")] == []
    assert [one["cache"] for one in place.json("cache list --filter c?")] == names


def test_the_same_key_has_one_effect_and_another_command_cannot_take_it(place: Place) -> None:
    once = "cache create rates --idempotency-key k1 -o json"
    assert place.done(once).stdout == place.done(once).stdout
    said = place.refused("cache create others --idempotency-key k1", 1)
    assert "key_reused" in said
    said = place.refused("cache create rates", 1)
    assert "Try: see what is there: felix-admin cache get" in said


def test_what_is_missing_is_named_and_found_on_no_server(place: Place) -> None:
    said = place.refused("stream create orders", 2, closed_port())
    assert "missing: --shards, --durability" in said


def test_what_is_not_valid_is_named_and_the_help_is_pointed_to(place: Place) -> None:
    said = place.refused("stream create orders --shards 0 --durability durable", 1)
    assert "/shards" in said
    assert "Try: correct it: felix-admin stream create --help" in said


def test_not_found_points_to_the_list_of_its_kind(place: Place) -> None:
    for noun in ("tenant", "namespace", "stream", "cache", "broker", "bridge", "region"):
        said = place.refused(f"{noun} get nothing", 1)
        assert f"Try: see what there is: felix-admin {noun} list" in said


class Rude:
    """Takes requests, and hangs up without a word."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._hang_up)
        self._thread.start()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    text = connection.recv(65536).decode()
                    self.keys += re.findall(r"Idempotency-Key: (\S+)", text)

    def close(self) -> None:
        """Be there no longer."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def rude() -> Iterator[Rude]:
    with contextlib.closing(Rude()) as found:
        yield found


def test_a_change_whose_answer_was_lost_is_asked_of_the_next_node_with_its_key(
    place: Place, rude: Rude
) -> None:
    both = f"{rude.endpoint},{place.endpoint}"
    assert place.run("cache create rates --idempotency-key k1", both).exit_code == 0
    assert place.run("cache create rates --idempotency-key k1", both).exit_code == 0
    assert rude.keys == ["k1", "k1"]
    assert [one["cache"] for one in place.json("cache list")] == ["rates"]


def test_an_outcome_that_nobody_knows_ends_with_the_key_that_makes_asking_again_safe(
    place: Place, rude: Rude
) -> None:
    said = place.refused("cache create rates", 3, rude.endpoint)
    (key,) = rude.keys
    assert f"Try: run the same again with --idempotency-key {key}" in said


def test_asking_again_for_an_update_names_the_version_that_it_was_bound_to(rude: Rude) -> None:
    request = Request(
        method="PATCH",
        path="/v1/tenants/acme",
        query={"expected_version": "7"},
        headers={"Idempotency-Key": "k1"},
        body={},
    )
    with (
        contextlib.closing(AdminClient([rude.endpoint])) as client,
        pytest.raises(OutcomeUnknown) as caught,
    ):
        client.ask(request)
    assert "with --idempotency-key k1 --if-version 7:" in caught.value.hint


def test_an_update_asked_for_again_with_key_and_version_has_one_effect(place: Place) -> None:
    before = place.json("tenant update acme --max-streams 5")["version"]
    again = f"tenant update acme --max-streams 6 --idempotency-key k1 --if-version {before}"
    assert place.json(again) == place.json(again)
    assert place.json("tenant get acme")["version"] == before + 1


# --- what destroys --------------------------------------------------------------------------------


def test_without_a_terminal_nothing_is_destroyed_and_the_whole_command_is_said(
    place: Place,
) -> None:
    place.done("stream create orders --shards 1 --durability durable")
    said = place.refused("stream delete orders --force", 2)
    again = said.partition("Try: felix-admin ")[2]
    assert again == "stream delete orders --force --tenant acme --namespace billing --yes\n"
    assert place.json("stream list")
    place.done(again)
    assert place.json("stream list") == []


def test_on_a_terminal_it_asks_and_a_no_changes_nothing(place: Place, tmp_path: Path) -> None:
    place.done("stream create orders --shards 1 --durability durable")
    words = "stream delete orders -t acme -n billing"
    code, shown = on_a_terminal(place, words, "n\n", tmp_path / "out", noun="")
    assert code == 1
    assert "can be had back until its grace ends" in " ".join(shown.split())
    assert place.json("stream list")
    code, _ = on_a_terminal(place, words, "y\n", tmp_path / "out", noun="")
    assert code == 0
    assert (tmp_path / "out").read_text() == "stream acme/billing/orders is deleted\n"
    assert [one["stream"] for one in place.json("stream list --deleted")] == ["orders"]
    place.done("stream undelete orders")


def test_a_tenant_says_first_what_it_takes_along(place: Place, tmp_path: Path) -> None:
    place.done("tenant create globex")
    for name in ("a", "b"):
        place.done(f"namespace create {name} -t globex")
    place.done("stream create s -t globex -n a --shards 1 --durability durable")
    code, shown = on_a_terminal(place, "tenant delete globex", "n\n", tmp_path / "out", noun="")
    assert code == 1
    assert "2 namespaces, 1 streams, 1 durable streams" in " ".join(shown.split())
    preview = place.json("tenant delete globex --dry-run")
    assert (preview["namespaces"], preview["streams"]) == (2, 1)
    place.done("tenant delete globex --yes")
    assert [one["tenant_id"] for one in place.json("tenant list")] == ["acme"]


# --- waiting --------------------------------------------------------------------------------------


def test_waiting_for_a_place_that_does_not_come_says_what_is_in_the_way(place: Place) -> None:
    words = "stream create orders --shards 2 --durability durable --wait --timeout 0.3"
    said = place.refused(words, 4)
    assert "no shard has a place yet: " in said
    assert "Try: see how far it is: felix-admin placement get --tenant acme" in said
    assert place.json("stream get orders")["stream"] == "orders"


# --- watch, top, completion -----------------------------------------------------------------------


def test_watch_shows_what_is_asked_for_in_every_format(place: Place) -> None:
    before = place.json("cluster status")["version"]
    version = place.json("cache create rates")["version"]
    place.done("cache create other")
    first = version - 1
    assert before <= first
    said = place.done(f"watch --from {first} --count 1").stdout
    assert re.fullmatch(rf"v{version} .* CREATE Cache +acme/billing/rates\n", said)
    narrowed = f"watch --from {first} --count 1 --kind Cache --type CREATE --name 'oth*' -t acme"
    (line,) = place.done(f"{narrowed} -o json").stdout.splitlines()
    assert json.loads(line)["payload"]["cache"] == "other"
    found = yaml.safe_load(place.done(f"{narrowed} -o yaml").stdout)
    assert (found["type"], found["kind"]) == ("CREATE", "Cache")
    said = place.refused("watch --from 100000", 1)
    assert "Try: version 100,000 is yet to come" in said


def test_watch_goes_on_from_batch_to_batch_without_a_gap_or_a_repetition(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("felix.cli.admin.watch.BATCH", 2)
    names = [f"c{number}" for number in range(7)]
    versions = [place.json(f"cache create {name}")["version"] for name in names]
    lines = place.done(f"watch --from {versions[0] - 1} --count 7 -o json").stdout.splitlines()
    assert [json.loads(line)["payload"]["cache"] for line in lines] == names


def test_top_once_is_for_scripts_and_drawing_needs_a_terminal(place: Place) -> None:
    said = place.done("top --once --interval 0.2").stdout
    assert re.search(r"^log +committed 5,000 \(0\.0/s\)", said, re.M)
    assert re.search("^n1 +leader +yes", said, re.M)
    found = place.json("top --once --interval 0.2")
    assert found["rates"]["commits"] == 0
    assert [one["name"] for one in found["cluster"]["members"]] == ["n1", "n2", "n3"]
    assert "Try: felix-admin top --once" in place.refused("top", 2)


def test_top_and_watch_go_on_until_they_are_interrupted_which_is_no_failure(place: Place) -> None:
    code, shown = until_it_shows(place, "top --interval 0.2", "committed 5,000 (0.0/s)")
    assert (code, "Traceback" in shown) == (0, False)
    assert until_it_shows(place, "watch --from 0", "acme/billing")[0] == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(place: Place, shell: str) -> None:
    script = place.done(f"completion {shell}").stdout
    assert f"_FELIX_ADMIN_COMPLETE={shell}_complete" in script
    assert "felix-admin" in script


def test_a_shell_is_told_nouns_verbs_options_and_words(place: Place) -> None:
    assert {"stream", "broker", "context"} <= offered("felix-admin ")
    assert offered("felix-admin stream und") == {"undelete"}
    assert "--retention" in offered("felix-admin stream create --ret")
    assert offered("felix-admin stream create --durability ") == {"ephemeral", "durable"}
    place.done("context set prod -e n:1")
    assert offered("felix-admin context use p") == {"prod"}


def test_a_shell_is_told_the_names_that_there_are(place: Place) -> None:
    for name in ("orders", "other", "invoices"):
        place.done(f"cache create {name}")
    place.done("namespace create shipping")
    here = f"felix-admin cache get -e {place.endpoint} -t acme"
    assert offered(f"{here} -n billing o") == {"orders", "other"}
    assert offered(f"{here} -n ") == {"billing", "shipping"}
    assert offered(f"felix-admin cache create -e {place.endpoint} -t acme -n billing o") == set()
    assert offered(f"felix-admin cache get -e {closed_port()} -t acme -n billing o") == set()


def offered(line: str) -> set[str]:
    env = {"_FELIX_ADMIN_COMPLETE": "bash_complete", "COMP_WORDS": line}
    env["COMP_CWORD"] = str(len(line.split(" ")) - 1)
    result = CliRunner(env=env).invoke(main, prog_name="felix-admin")
    return {one.partition(",")[2] for one in result.stdout.splitlines()} - {""}


# --- what others say ------------------------------------------------------------------------------


def test_names_from_elsewhere_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "\x1b[2Jgone", "inner": {"reason": "\x1b]0;owned\x07"}, "rows": [{"a": "\x1b"}]}
    show_one(row)
    show_rows(("NAME=name", "WHY=inner.reason"), [row])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "?[2Jgone" in said
