"""An operator's day with `felix-admin`: the program itself, on real nodes with closed doors.

Each command is a process of its own; what it has to wait for, it waits for.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from felix.cli.dev import ReadyFile
from felix.core.catalog.backup import ReadBackup
from felix.recovery.backups import verify_backup
from tests.cli.admin_page import BROKER_COMMANDS
from tests.support.dev_cluster import AUDIENCE, running_dev
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PROGRAM = [sys.executable, "-c", "from felix.cli.admin import main; main(prog_name='felix-admin')"]
STREAM = "stream create {} --shards 4 --durability durable --replication 2 --wait"


class Day:
    """A cluster of three with three brokers, and somebody who works with it."""

    def __init__(self, ready: ReadyFile, folder: Path) -> None:
        self.ready = ready
        self.folder = folder
        self.env = os.environ | {"FELIX_ADMIN_CONFIG": str(folder / "admin.yaml")}

    def run(self, command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [*PROGRAM, *shlex.split(command)],
            input=typed,
            capture_output=True,
            check=False,
            cwd=self.folder,
            env=self.env,
            text=True,
            timeout=120,
        )

    def done(self, command: str, typed: str = "") -> str:
        """Run it; it must work."""
        found = self.run(command, typed)
        assert found.returncode == 0, (command, found.stdout, found.stderr)
        return found.stdout

    def json(self, command: str) -> Any:
        """Run it, and read what it shows."""
        return json.loads(self.done(f"{command} -o json"))

    def upstream(self, subject: str) -> str:
        """Let the identity provider vouch for somebody."""
        with urllib3.PoolManager() as http:
            answer = http.request_encode_body(
                "POST",
                f"{self.ready.idp}/token",
                fields={"subject": subject, "audience": AUDIENCE},
                encode_multipart=False,
            )
        token: str = answer.json()["id_token"]
        return token


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    with (
        tempfile.TemporaryDirectory(prefix="felix-test-") as folder,
        running_dev(Path(folder), 3, 3) as (_, ready, _),
    ):
        one = Day(ready, Path(folder))
        endpoints = " ".join(f"-e {node.http}" for node in ready.nodes)
        one.done(
            f"context set dev {endpoints} --token-file {ready.admin_token_file} "
            "-t acme-corp -n production"
        )
        one.done("tenant create acme-corp --max-storage 1TB")
        one.done("namespace create production")
        yield one


def test_every_command_about_brokers_that_the_page_shows_works(day: Day) -> None:
    assert len(BROKER_COMMANDS) > 7
    for line in BROKER_COMMANDS:
        day.done(line.removeprefix("felix-admin "))
    status = {one["broker"]["broker_id"]: one["broker"]["drain"] for one in day.json("broker list")}
    assert status == {"broker-1": False, "broker-2": False, "broker-3": False}


def test_a_shard_moves_and_changes_its_leader_while_progress_is_shown(day: Day) -> None:
    day.done(STREAM.format("moved"))
    shard = day.json("placement get moved")["placements"][0]
    here = {shard["leader"], *shard["replicas"]}
    (free,) = {"broker-1", "broker-2", "broker-3"} - here
    found = day.run(f"shard move 0 --stream moved --from {shard['leader']} --to {free}")
    assert found.returncode == 0, found.stderr
    assert "1 of 1 moves are over: 1 done" in found.stderr
    shard = day.json("placement get moved")["placements"][0]
    assert free in {shard["leader"], *shard["replicas"]}
    (other,) = shard["replicas"]
    day.done(f"shard transfer 0 --stream moved --to {other}")
    assert day.json("placement get moved")["placements"][0]["leader"] == other


def test_a_drain_that_cannot_go_on_says_why_and_ends_with_4(day: Day) -> None:
    day.done(STREAM.format("everywhere").replace("--replication 2", "--replication 3"))
    found = day.run("broker drain broker-2 --timeout 4")
    assert found.returncode == 4, found.stderr
    assert "no move is under way: " in found.stderr
    assert "Try: see how far it is: felix-admin move list --broker broker-2" in found.stderr
    day.done("broker undrain broker-2")
    day.done("stream delete everywhere --force --yes")


def test_a_write_waits_until_all_brokers_have_it(day: Day) -> None:
    day.done("cache create rates --wait-brokers all")
    found = day.run("cache delete rates --yes --wait-brokers 9 --brokers-timeout 3")
    assert found.returncode == 4, found.stderr
    assert "done, and in force at " in found.stderr


def test_somebody_signs_in_asks_what_they_may_and_the_token_is_kept_unseen(day: Day) -> None:
    body = day.folder / "first.yaml"
    issuer = f"{{issuer: '{day.ready.idp}', audiences: [{AUDIENCE}]}}"
    body.write_text(
        f"display_name: Globex\nidp_issuers: [{issuer}]\n"
        f"initial_admin_principals: [{{issuer: '{day.ready.idp}', subject: ann}}]\n"
    )
    bootstrap = (
        f"tenant bootstrap globex -f {body} --bootstrap-token-file - -e {day.ready.bootstrap}"
    )
    day.done(bootstrap, day.ready.bootstrap_token)
    day.done(f"context set globex -e {day.ready.nodes[0].http} --tenant globex")
    day.env["FELIX_ADMIN_CONTEXT"] = "globex"
    try:
        exchange = "token exchange --upstream-token-file - --refresh --save"
        said = day.done(exchange, day.upstream("ann"))
        kept = (day.folder / "admin.yaml").read_text()
        day.done("policy add --subject group:w --object stream:globex/a/* --action stream.publish")
        said += day.done("token refresh --save") + day.done("context show")
        assert day.json("can-i tenant.manage tenant:globex")["allowed"]
        asked = day.run("can-i stream.publish stream:globex/a/b --principal nobody")
        assert (asked.returncode, "Try: see why" in asked.stderr) == (1, True)
        assert day.json("explain stream.publish stream:globex/a/b --group group:w")["allowed"]
    finally:
        del day.env["FELIX_ADMIN_CONTEXT"]
    (token,) = {line.split()[1] for line in kept.splitlines() if line.startswith("    token:")}
    assert token not in said
    assert (day.folder / "admin.yaml").read_text() != kept


def test_a_backup_is_whole_before_it_has_its_name(day: Day) -> None:
    file = day.folder / "felix.backup"
    day.done(f"backup save {file} --linearizable")
    assert isinstance(verify_backup(file), ReadBackup)
    again = day.run(f"backup save {file}")
    assert (again.returncode, "Try: name another file" in again.stderr) == (2, True)


def test_watch_and_changes_outlive_the_leader(day: Day) -> None:
    version = day.json("cluster status")["version"]
    watch = [*PROGRAM, "watch", "--from", str(version), "--kind", "Cache", "--count", "6"]
    with subprocess.Popen(
        [*watch, "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=day.env
    ) as process:
        for number in range(3):
            day.done(f"cache create before{number}")
        view = day.json("cluster status")
        leader = next(one["name"] for one in view["members"] if one["role"] == "leader")
        os.kill(next(one.pid for one in day.ready.nodes if one.name == leader), signal.SIGKILL)
        eventually(lambda: day.run("cache create after0").returncode == 0, 30)
        for number in (1, 2):
            day.done(f"cache create after{number}")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    seen = [json.loads(line)["payload"]["cache"] for line in out.splitlines()]
    assert seen == [*(f"before{n}" for n in range(3)), *(f"after{n}" for n in range(3))]
    found = day.json("top --once --interval 0.5")
    assert {one["name"]: one["active"] for one in found["cluster"]["members"]}[leader] is False
    assert len(found["brokers"]) == 3
