"""Which boot of a broker is the one that counts."""

from __future__ import annotations

from felix.proto.errors import FENCED_REPLACED, BrokerFenced
from felix.proto.resources import Broker


def check_boot(broker: Broker, broker_epoch: int) -> None:
    """Refuse all boots but the one that registered last. Raises: BrokerFenced.

    `details.reason` says what the one that asks has to do. Epochs only grow, so one that is below
    is of a boot that was replaced; one that is above was given out by a life of the cluster that
    was taken back by a restore, and its boot has to register again.
    """
    if broker_epoch == broker.broker_epoch and broker.boot_id:
        return
    details: dict[str, int | str] = {"broker_epoch": broker.broker_epoch, "address": broker.address}
    if broker_epoch < broker.broker_epoch:
        raise BrokerFenced(
            f"another boot of {broker.broker_id!r} has registered since, at {broker.address} and "
            f"epoch {broker.broker_epoch}; this one had {broker_epoch}: stop this process, or give "
            "one of the two another broker_id",
            details={"reason": FENCED_REPLACED, **details},
        )
    if broker_epoch > broker.broker_epoch:
        raise BrokerFenced(
            f"nobody here gave {broker.broker_id!r} the epoch {broker_epoch}, the last one was "
            f"{broker.broker_epoch}: the cluster was restored; register again",
            details={"reason": "restored", **details},
        )
    raise BrokerFenced(
        f"{broker.broker_id!r} has stopped: register it again",
        details={"reason": "stopped", **details},
    )
