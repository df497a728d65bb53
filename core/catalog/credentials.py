"""How brokers prove who they are."""

from __future__ import annotations

from typing import Final

from felix.core.catalog.identity_changes import touched
from felix.core.catalog.identity_tables import BROKERS, CREDENTIALS
from felix.core.catalog.steps import Context, Outcome, Step
from felix.proto.commands import DeleteBrokerCredential, PutBrokerCredential
from felix.proto.errors import Conflict, NotFound, TooLarge
from felix.proto.identity import BrokerCredential, Done

CREDENTIALS_MAX: Final = 10_000


def put_credential(command: PutBrokerCredential, context: Context) -> Outcome:
    """Let a broker in. Raises: Conflict, TooLarge."""
    table = context.store.tables[CREDENTIALS]
    row = BrokerCredential(
        broker_id=command.broker_id,
        curve_key=command.curve_key,
        secret_hash=command.secret_hash,
        updated_at_ms=context.stamp.time_ms,
    )
    before: BrokerCredential | None = table.rows.get(row.key)
    if row.curve_key and any(
        one.curve_key == row.curve_key and one.key != row.key for one in table.rows.values()
    ):
        raise Conflict("another broker has this CURVE key")
    if before is None and len(table.rows) >= CREDENTIALS_MAX:
        raise TooLarge(f"there are {CREDENTIALS_MAX} brokers' credentials")
    steps = [Step(CREDENTIALS, row.key, before, row), *touched(BROKERS, context)]
    return Outcome(steps, Done(id=row.broker_id))


def delete_credential(command: DeleteBrokerCredential, context: Context) -> Outcome:
    """Let a broker in no longer. Raises: NotFound."""
    row = context.store.tables[CREDENTIALS].rows.get((command.broker_id,))
    if row is None:
        raise NotFound(f"there is no credential of a broker {command.broker_id!r}")
    steps = [Step(CREDENTIALS, row.key, row, None), *touched(BROKERS, context)]
    return Outcome(steps, Done(id=command.broker_id))
