"""Signing keys on real nodes: rotation while leaders change, KEKs change, and brokers are away."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
import pytest

from felix.cli.config import Config, KeysConfig, RaftTimings
from felix.proto.commands import ActivateSigningKey, CreateTenant, StageSigningKey
from felix.proto.identity import Done, SealedKey, SigningKeyPage
from felix.proto.queries import ListAllSigningKeys
from felix.proto.resources import KeyState, SigningKey
from felix.proto.updates import MetadataUpdate
from felix.storage.sealed import Sealer, kek_id_of
from felix.transport.client import BrokerClient
from felix.transport.sync_records import UpdateInfo
from tests.cluster.follower import Follower
from tests.support.cluster import KEK, TENANT, Cluster, RunningNode, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROUNDS = 5
NODE_AGE_MAX_S = RaftTimings().election_max_ms / 1000
"""A node that is further behind does not say what is current."""
CUT_OFF_S = 2.0
RAPID = KeysConfig(kek=KEK, rotation_period_s=6, publish_lead_s=3)


def in_a_hurry(config: Config) -> Config:
    """Let keys sign sooner than the brokers of the existing service could know them."""
    return msgspec.structs.replace(config, insecure=True)


OLD, NEW = "old", "new"
TENANTS = ("acme", "blue", "coal")


class Doubter:
    """Asks a broker again and again whether it knows a key; it may say no only if it is stale.

    A broker is to know of a change unless it says that it was last proven current before it.
    """

    def __init__(self, client: BrokerClient, kid: str, at: float) -> None:
        """`at`: when the change was committed; monotonic."""
        self._client = client
        self._kid = kid
        self._at = at
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.lies: list[float] = []
        """By how much it claimed to be newer than it was, in seconds."""
        self.doubts = 0
        """How often it did not know, and knew that."""

    def __enter__(self) -> Doubter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.0005):
            proven_at = time.monotonic() - self._client.staleness_s  # read before what it knows
            if self._client.get("SigningKey", (TENANT, self._kid)) is None:
                if proven_at > self._at + NODE_AGE_MAX_S:
                    self.lies.append(proven_at - self._at)
                self.doubts += 1


def test_a_broker_that_was_cut_off_knows_a_new_key_or_knows_that_it_may_not() -> None:
    with cluster() as three:
        three.nodes[0].ask(CreateTenant(tenant_id=TENANT))
        for _ in range(ROUNDS):
            leader = three.leader()
            far, near = three.others(leader)
            with Follower([far]) as broker:
                assert broker.client.wait_current(30)
                far.pause()
                staged = near.ask(StageSigningKey(tenant_id=TENANT)).result
                assert isinstance(staged, Done)
                signs = near.ask(ActivateSigningKey(tenant_id=TENANT, kid=staged.id))
                at = time.monotonic()
                with Doubter(broker.client, staged.id, at) as doubter:
                    eventually(lambda b=broker: b.client.staleness_s > CUT_OFF_S)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                    assert doubter.doubts
                    far.resume()
                    assert broker.client.wait_version(signs.version, 30)
                assert not doubter.lies, doubter.lies
                broker.assert_in_step_with(three.wait_converged())


class KeyWatch(Follower):
    """A broker that follows the states of a tenant's keys, and notes if two of them ever sign."""

    def __init__(self, nodes: Sequence[RunningNode]) -> None:
        super().__init__(nodes)
        self.states: dict[str, KeyState] = {}

    def _on_update(self, update: MetadataUpdate, info: UpdateInfo) -> None:
        super()._on_update(update, info)
        key = update.payload
        if isinstance(key, SigningKey):
            states = dict(self.states)
            states.pop(key.kid, None)
            if update.type != "DELETE":
                states[key.kid] = key.state
            self.states = states
            for state in ("active", "published"):
                if len(self.kids(state)) > 1:
                    self.faults.append(f"at version {update.version} there are {states}")

    def kids(self, state: KeyState) -> list[str]:
        """The keys in a state."""
        return [kid for kid, its in self.states.items() if its == state]

    def wait_for_the_next(self, state: KeyState, known: Collection[str]) -> str:
        """Wait for a key that was not known in this state before."""
        eventually(lambda: bool(set(self.kids(state)) - set(known)), 40)
        (found,) = set(self.kids(state)) - set(known)
        return found


def test_a_rotation_goes_on_whoever_leads_and_two_keys_never_sign() -> None:
    with cluster(signing=RAPID, adjust=in_a_hurry) as three, KeyWatch(three.nodes) as broker:
        assert broker.client.wait_current(30)
        three.nodes[0].ask(CreateTenant(tenant_id=TENANT))
        signs = broker.wait_for_the_next("active", ())
        for _ in range(2):
            heir = broker.wait_for_the_next("published", ())
            lead_is_lost(three)  # in the middle: it is published and does not sign
            assert broker.wait_for_the_next("active", (signs,)) == heir
            assert signs in broker.kids("retiring")
            lead_is_lost(three)  # and again: it signs, and the one before has not gone
            signs = heir
        broker.assert_in_step_with(three.wait_converged())
        assert len(broker.kids("active")) == 1


def lead_is_lost(three: Cluster) -> None:
    """Kill the leader; another one leads when this returns, and the dead one is back."""
    leader = three.leader()
    leader.kill()
    assert three.leader() is not leader
    three.start()


def test_the_kek_of_a_running_cluster_is_replaced_node_by_node(tmp_path: Path) -> None:
    for kek in (OLD, NEW):
        (tmp_path / f"{kek}.kek").write_text(base64.b64encode(kek_of(kek)).decode())
    with cluster(signing=keks(tmp_path, OLD)) as three:
        for tenant in TENANTS:
            three.nodes[0].ask(CreateTenant(tenant_id=tenant))
        assert kek_ids(three) == {kek_id_of(kek_of(OLD))}
        for present, previous in ((OLD, (NEW,)), (NEW, (OLD,)), (NEW, ())):
            for node in three.nodes:
                restart_with(three, node, keks(tmp_path, present, *previous))
            eventually(lambda kek=present: kek_ids(three) == {kek_id_of(kek_of(kek))}, 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        for node in three.nodes:
            eventually(lambda node=node: sees_its_keys(node))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert "cannot be decrypted" not in node.log.read_text()
        for _, sealed, _ in all_keys(three):
            Sealer((kek_of(NEW),)).open(sealed)
        for tenant in TENANTS:
            three.nodes[0].ask(StageSigningKey(tenant_id=tenant))
        three.wait_converged()


def kek_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def keks(folder: Path, present: str, *previous: str) -> KeysConfig:
    return KeysConfig(
        kek_file=str(folder / f"{present}.kek"),
        previous_kek_files=tuple(str(folder / f"{one}.kek") for one in previous),
    )


def restart_with(three: Cluster, node: RunningNode, keys: KeysConfig) -> None:
    """Let a node come back with other KEKs, as in an upgrade."""
    node.terminate()
    assert node.wait() == 0
    node.config = msgspec.structs.replace(node.config, keys=keys)
    node.write_config()
    three.start()


def all_keys(three: Cluster) -> tuple[tuple[SigningKey, SealedKey, int], ...]:
    page = three.nodes[0].ask(ListAllSigningKeys()).result
    assert isinstance(page, SigningKeyPage)
    return page.items


def kek_ids(three: Cluster) -> set[str]:
    return {sealed.kek_id for _, sealed, _ in all_keys(three)}


def sees_its_keys(node: RunningNode) -> bool:
    """Whether a node has looked at all keys since it started, and can decrypt each of them."""
    metrics = node.metrics()
    active = metrics.get('felix_signing_keys{state="active"}')
    return active == len(TENANTS) and metrics["felix_keys_unsealable"] == 0
