"""Case 21 of the field notes: which boot of a broker counts, and what the others are told to do."""

from __future__ import annotations

import pytest

from felix.core.brokers.boots import check_boot
from felix.proto.errors import BrokerFenced
from felix.proto.resources import Broker

BROKER = Broker(broker_id="b1", address="h1:1", boot_id="second", broker_epoch=9)
STOPPED = Broker(broker_id="b1", address="h1:1", broker_epoch=9)


def test_the_boot_that_registered_last_is_not_fenced() -> None:
    check_boot(BROKER, 9)


@pytest.mark.parametrize(
    ("broker", "epoch", "reason", "advice"),
    [
        (BROKER, 8, "replaced", "stop this process, or give one of the two another broker_id"),
        (STOPPED, 8, "replaced", "stop this process"),
        (BROKER, 10, "restored", "register again"),
        (STOPPED, 9, "stopped", "register it again"),
    ],
)
def test_every_other_one_is_told_what_to_do(
    broker: Broker, epoch: int, reason: str, advice: str
) -> None:
    with pytest.raises(BrokerFenced, match=advice) as fenced:
        check_boot(broker, epoch)
    details = fenced.value.details
    assert details == {"reason": reason, "broker_epoch": 9, "address": "h1:1"}
