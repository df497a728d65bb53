"""How brokers prove who they are, as the catalog keeps it."""

from __future__ import annotations

import pytest

from felix.core.catalog import credentials
from felix.proto.commands import DeleteBrokerCredential, PutBrokerCredential
from felix.proto.identity import BrokerCredential, BrokerCredentials, Done
from felix.proto.queries import ListBrokerCredentials
from tests.support.identity_log import IdentityLog

KEY, OTHER_KEY = "k" * 40, "o" * 40


def listed(log: IdentityLog) -> BrokerCredentials:
    answer = log.catalog.answer(ListBrokerCredentials())
    assert isinstance(answer, BrokerCredentials)
    return answer


def put(broker_id: str, key: str = "", secret_hash: bytes = b"") -> PutBrokerCredential:
    return PutBrokerCredential(broker_id=broker_id, curve_key=key, secret_hash=secret_hash)


def test_credentials_are_put_replaced_listed_and_deleted() -> None:
    log = IdentityLog()
    assert listed(log) == BrokerCredentials((), 0)
    assert log.done(put("b2", KEY)) == Done(id="b2")
    log.done(put("b1", secret_hash=b"h" * 32))
    log.done(put("b2", OTHER_KEY))
    at = log.now_ms
    assert listed(log).items == (
        BrokerCredential(broker_id="b1", secret_hash=b"h" * 32, updated_at_ms=at),
        BrokerCredential(broker_id="b2", curve_key=OTHER_KEY, updated_at_ms=at),
    )
    assert listed(log).changed_index == 3
    log.done(DeleteBrokerCredential(broker_id="b1"))
    assert [one.broker_id for one in listed(log).items] == ["b2"]
    assert listed(log).changed_index == 4
    assert log.catalog.version == 0, "brokers are told nothing of each other"


def test_a_key_is_one_brokers_only() -> None:
    log = IdentityLog()
    log.done(put("b1", KEY))
    assert log.code_of(put("b2", KEY)) == "conflict"
    log.done(put("b1", KEY))
    log.done(put("b1", OTHER_KEY))
    log.done(put("b2", KEY))


def test_what_is_not_there_is_not_found() -> None:
    assert IdentityLog().code_of(DeleteBrokerCredential(broker_id="b1")) == "not_found"


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "CREDENTIALS_MAX", 1)
    log = IdentityLog()
    log.done(put("b1", KEY))
    assert log.code_of(put("b2", OTHER_KEY)) == "too_large"
    log.done(put("b1", OTHER_KEY))
