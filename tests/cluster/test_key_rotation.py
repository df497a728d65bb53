"""Signing keys on real nodes: rotation while leaders change, KEKs change, and brokers are away."""

from __future__ import annotations

import threading
import time

import pytest

from felix.cli.config import RaftTimings
from felix.proto.commands import (
    ActivateSigningKey,
    CreateTenant,
    StageSigningKey,
)
from felix.proto.identity import Done
from felix.transport.client import BrokerClient
from tests.cluster.follower import Follower
from tests.support.cluster import TENANT, cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROUNDS = 5
NODE_AGE_MAX_S = RaftTimings().election_max_ms / 1000
"""A node that is further behind does not say what is current."""
CUT_OFF_S = 2.0


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
                    eventually(lambda b=broker: b.client.staleness_s > CUT_OFF_S)
                    assert doubter.doubts
                    far.resume()
                    assert broker.client.wait_version(signs.version, 30)
                assert not doubter.lies, doubter.lies
                broker.assert_in_step_with(three.wait_converged())
