"""Two spellings of one model: the HTTP contract's and the specification's.

| contract (section 4.3) | specification (seed, "Core Data Model") |
|---|---|
| `consistency: Leader / Quorum` | `ack_policy: leader_only / quorum` |
| `durable: true / false` | `durability: durable / ephemeral` |
| `retention.max_age_seconds: 604800` | `retention.time: "7d"` |
| `retention.max_size_bytes: 100000000000` | `retention.size: "100GB"` |

A body with any of `kind`, `consistency`, `delivery`, `durable` is taken to be the contract's, which
has no defaults; otherwise `shards` and `durability` are required. The same fact said twice must
agree.
"""

from __future__ import annotations

import re
from typing import Final

from felix.http.bodies import (
    INTEGER_MAX,
    ConsistencyWord,
    EncryptionBody,
    NewStream,
    QuotasBody,
    RetentionBody,
    StreamPatch,
)
from felix.http.strict_json import unprocessable
from felix.proto.commands import UpdateStream
from felix.proto.errors import ValidationFailed
from felix.proto.resources import (
    AckPolicy,
    Durability,
    Encryption,
    Quotas,
    RetentionPolicy,
    StreamSpec,
)

ACK_POLICIES: Final[dict[ConsistencyWord, AckPolicy]] = {
    "Leader": "leader_only",
    "Quorum": "quorum",
}
CONSISTENCY_WORDS: Final[dict[AckPolicy, ConsistencyWord]] = {
    policy: word for word, policy in ACK_POLICIES.items()
}

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
BYTES: Final = {"B": 1} | {
    prefix + suffix: base**power
    for base, suffix in ((1000, "B"), (1024, "iB"))
    for power, prefix in enumerate("KMGTP", start=1)
}
_QUANTITY: Final = re.compile(r"([0-9]{1,20}) ?([A-Za-z]+)")
_DEFAULTS: Final = StreamSpec()


def stream_spec(body: NewStream) -> StreamSpec:
    """Read what a stream should be. Raises: Unprocessable."""
    _require(body)
    replication_factor = body.replication_factor
    return StreamSpec(
        shards=body.shards,
        retention=retention(body.retention) or RetentionPolicy(),
        durability=_durability(body.durable, body.durability) or _DEFAULTS.durability,
        replication_factor=(
            _DEFAULTS.replication_factor if replication_factor is None else replication_factor
        ),
        ack_policy=_ack_policy(body.consistency, body.ack_policy) or _DEFAULTS.ack_policy,
        kind=body.kind or _DEFAULTS.kind,
        delivery=body.delivery or _DEFAULTS.delivery,
        regions=tuple(dict.fromkeys(body.regions or ())),
    )


def as_spelled(error: ValidationFailed) -> ValidationFailed:
    """Name the member that breaks a rule as bodies do, which have no `spec` around it."""
    pointer = str(error.details.get("pointer", ""))
    if not pointer.startswith("/spec/"):
        return error
    spelled = pointer.removeprefix("/spec")
    return ValidationFailed(
        error.message.replace(pointer, spelled, 1), details={**error.details, "pointer": spelled}
    )


def stream_update(
    tenant_id: str, namespace: str, stream: str, body: StreamPatch, expected_version: int | None
) -> UpdateStream:
    """Read a patch of a stream. Raises: Unprocessable."""
    return UpdateStream(
        tenant_id=tenant_id,
        namespace=namespace,
        stream=stream,
        retention=retention(body.retention),
        durability=_durability(body.durable, body.durability),
        delivery=body.delivery,
        ack_policy=_ack_policy(body.consistency, body.ack_policy),
        expected_version=expected_version,
    )


def retention(body: RetentionBody | None) -> RetentionPolicy | None:
    """Read a retention in numbers, words or both. Raises: Unprocessable."""
    if body is None:
        return None
    return RetentionPolicy(
        max_age_seconds=_quantity(
            body.max_age_seconds, body.time, SECONDS, "/retention/time", "max_age_seconds"
        ),
        max_size_bytes=_quantity(
            body.max_size_bytes, body.size, BYTES, "/retention/size", "max_size_bytes"
        ),
    )


def quotas(body: QuotasBody | None) -> Quotas | None:
    """Read quotas. Raises: Unprocessable."""
    if body is None:
        return None
    return Quotas(
        max_streams=body.max_streams,
        max_publish_rate=body.max_publish_rate,
        max_subscribe_connections=body.max_subscribe_connections,
        max_storage_bytes=_quantity(
            body.max_storage_bytes,
            body.max_storage,
            BYTES,
            "/quotas/max_storage",
            "max_storage_bytes",
        ),
        max_cache_memory=body.max_cache_memory,
    )


def encryption(body: EncryptionBody | None) -> Encryption | None:
    """Read encryption settings. Raises: Unprocessable."""
    if body is None:
        return None
    return Encryption(
        key_id=body.key_id,
        rotation_period_seconds=_quantity(
            body.rotation_period_seconds,
            body.rotation_period,
            SECONDS,
            "/encryption/rotation_period",
            "rotation_period_seconds",
        ),
    )


def _require(body: NewStream) -> None:
    contract = {
        "kind": body.kind,
        "retention": body.retention,
        "consistency": body.consistency,
        "delivery": body.delivery,
        "durable": body.durable,
    }
    is_contract = any(
        value is not None for member, value in contract.items() if member != "retention"
    )
    required = contract if is_contract else {"durability": body.durability}
    for member, value in required.items():
        if value is None:
            raise unprocessable(f"/{member}", "is required")


def _durability(durable: bool | None, durability: Durability | None) -> Durability | None:
    if durable is None:
        return durability
    spelled: Durability = "durable" if durable else "ephemeral"
    if durability not in (None, spelled):
        raise unprocessable("/durability", "does not agree with durable")
    return spelled


def _ack_policy(word: ConsistencyWord | None, ack_policy: AckPolicy | None) -> AckPolicy | None:
    if word is None:
        return ack_policy
    spelled = ACK_POLICIES[word]
    if ack_policy not in (None, spelled):
        raise unprocessable("/ack_policy", "does not agree with consistency")
    return spelled


def _quantity(
    number: int | None, words: str | None, units: dict[str, int], pointer: str, twin: str
) -> int | None:
    """Read a number that may also be given in words; the words are at `pointer`."""
    if words is None:
        return number
    match = _QUANTITY.fullmatch(words)
    if match is None or match[2] not in units:
        raise unprocessable(pointer, f"must be a whole number and one of {', '.join(units)}")
    value = int(match[1]) * units[match[2]]
    if value > INTEGER_MAX:
        raise unprocessable(pointer, "must be less than 2^63")
    if number not in (None, value):
        raise unprocessable(pointer, f"does not agree with {twin}")
    return value
