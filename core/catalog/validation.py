"""What a command must look like before it may be proposed.

Checked by the node that accepts it, never at apply: what is in the log stays valid for ever.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from felix.core.catalog.identity_validation import check_identity
from felix.core.catalog.manifests import key_of, kind_of
from felix.core.catalog.placement_validation import check_placement
from felix.core.catalog.setting_validation import check_settings
from felix.proto.command import Command, Conditional
from felix.proto.commands import (
    ApplyManifests,
    BootstrapTenant,
    CreateCache,
    CreateNamespace,
    CreateStream,
    CreateTenant,
    DescribeBroker,
    Manifest,
    SetFeatureLevel,
    UpdateCache,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
)
from felix.proto.errors import ValidationFailed
from felix.proto.manifests import DOCUMENTS_MAX, TENANTS_MAX
from felix.proto.names import why_not_a_name
from felix.proto.placement_commands import PutBridge, UpdateBroker
from felix.proto.resources import Encryption, Key, Quotas, RetentionPolicy, StreamSpec

DISPLAY_NAME_CHARS_MAX: Final = 1024
DESCRIPTION_CHARS_MAX: Final = 4096
SHARDS_MAX: Final = 65_536
REPLICATION_FACTOR_MAX: Final = 255
"""A replica needs a broker of its own, and no Felix cluster has more brokers than this a zone."""
REGIONS_MAX: Final = 100
FEATURE_LEVEL_MAX: Final = 65_535
NUMBER_MAX: Final = (1 << 63) - 1
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255
MANIFEST_MEMBERS: Final[dict[type[Command], tuple[str, ...]]] = {
    CreateTenant: ("display_name", "description", "quotas", "encryption"),
    CreateNamespace: ("display_name", "description", "quotas"),
    CreateStream: StreamSpec.__struct_fields__,
    CreateCache: ("display_name",),
    PutBridge: ("source_region", "target_region", "streams", "encryption_key_id"),
}
"""What the document of an object may say, where what it leaves out stays."""
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PRINTABLE_ASCII: Final = re.compile("[\x20-\x7e]+")


def check(command: Command) -> None:
    """Check every value of a command. Raises: ValidationFailed with the member's pointer."""
    for member in ("tenant_id", "namespace", "stream", "cache"):
        value = getattr(command, member, None)
        if isinstance(value, str):
            why = why_not_a_name(value)
            if why:
                raise _failed(f"/{member}", why)
    if isinstance(command, Conditional):
        _check_number("/expected_version", command.expected_version)
    match command:
        case CreateTenant() | UpdateTenant():
            _check_texts(command)
            _check_quotas(command.quotas)
            _check_encryption(command.encryption)
        case CreateNamespace() | UpdateNamespace():
            _check_texts(command)
            _check_quotas(command.quotas)
        case CreateCache() | UpdateCache() | BootstrapTenant():
            _check_texts(command)
        case CreateStream():
            _check_spec(command.spec)
        case UpdateStream():
            _check_retention("/retention", command.retention)
        case SetFeatureLevel():
            _check_level(command.level)
    check_identity(command)
    check_placement(command)
    check_settings(command)
    if isinstance(command, ApplyManifests):
        _check_set(command)


def check_manifest(document: Manifest) -> None:
    """Check a document of a set. Raises: ValidationFailed with the member's pointer."""
    wanted = document.wanted
    for name in document.given:
        if name not in MANIFEST_MEMBERS.get(type(wanted), ()):
            raise _failed("/given", f"{name!r} is no member of {type(wanted).__name__}")
    check(wanted)
    if isinstance(wanted, DescribeBroker):
        check_placement(
            UpdateBroker(
                broker_id=wanted.broker_id,
                region=wanted.region,
                availability_zone=wanted.availability_zone,
                capacity=wanted.capacity,
                metadata=wanted.metadata,
            )
        )
        _check_text("/address", wanted.address, DISPLAY_NAME_CHARS_MAX)


def check_documents(documents: tuple[Manifest, ...]) -> None:
    """Check a set as a whole. Raises: ValidationFailed."""
    if len(documents) > DOCUMENTS_MAX:
        raise _failed("/documents", f"must be at most {DOCUMENTS_MAX}: apply them in parts")
    if sum(isinstance(one.wanted, CreateTenant) for one in documents) > TENANTS_MAX:
        raise _failed("/documents", f"must have at most {TENANTS_MAX} tenants: apply it in parts")
    first: dict[tuple[str, Key], int] = {}
    for place, document in enumerate(documents):
        kind, key = kind_of(document.wanted), key_of(document.wanted)
        if (kind, key) in first:
            raise ValidationFailed(
                f"the {kind.lower()} {'/'.join(key)!r} is in the set twice: leave one out",
                details={"document": place, "first": first[kind, key]},
            )
        first[kind, key] = place


def _check_set(command: ApplyManifests) -> None:
    check_documents(command.documents)
    for place, document in enumerate(command.documents):
        try:
            check_manifest(document)
        except ValidationFailed as error:
            details = {**error.details, "document": place}
            raise ValidationFailed(error.message, details=details) from error


def check_idempotency_key(key: str | None) -> None:
    """Check an idempotency key. Raises: ValidationFailed."""
    if key is None:
        return
    if len(key) > IDEMPOTENCY_KEY_CHARS_MAX or not _PRINTABLE_ASCII.fullmatch(key):
        raise _failed(
            "/idempotency_key",
            f"must be 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters",
        )


def _check_texts(
    command: CreateTenant
    | UpdateTenant
    | CreateNamespace
    | UpdateNamespace
    | CreateCache
    | UpdateCache
    | BootstrapTenant,
) -> None:
    _check_text("/display_name", command.display_name, DISPLAY_NAME_CHARS_MAX)
    _check_text("/description", getattr(command, "description", None), DESCRIPTION_CHARS_MAX)


def _check_text(pointer: str, value: str | None, chars_max: int) -> None:
    if value is None:
        return
    if len(value) > chars_max:
        raise _failed(pointer, f"must have at most {chars_max} characters")
    if not value.isprintable() and _UNPRINTABLE.search(value):  # the first is fast, and stricter
        raise _failed(pointer, "must not contain control characters or lone surrogates")


def _check_spec(spec: StreamSpec) -> None:
    if not 1 <= spec.shards <= SHARDS_MAX:
        raise _failed("/spec/shards", f"must be 1 to {SHARDS_MAX}")
    if not 1 <= spec.replication_factor <= REPLICATION_FACTOR_MAX:
        raise _failed("/spec/replication_factor", f"must be 1 to {REPLICATION_FACTOR_MAX}")
    _check_retention("/spec/retention", spec.retention)
    if len(spec.regions) > REGIONS_MAX:
        raise _failed("/spec/regions", f"must have at most {REGIONS_MAX} items")
    for number, region in enumerate(spec.regions):
        why = why_not_a_name(region)
        if why:
            raise _failed(f"/spec/regions/{number}", why)


def _check_level(level: int) -> None:
    if not 1 <= level <= FEATURE_LEVEL_MAX:
        raise _failed("/level", f"must be 1 to {FEATURE_LEVEL_MAX}")


def _check_retention(pointer: str, retention: RetentionPolicy | None) -> None:
    if retention is not None:
        _check_number(f"{pointer}/max_age_seconds", retention.max_age_seconds)
        _check_number(f"{pointer}/max_size_bytes", retention.max_size_bytes)


def _check_quotas(quotas: Quotas | None) -> None:
    if quotas is not None:
        for member, value in msgspec.structs.asdict(quotas).items():
            _check_number(f"/quotas/{member}", value)


def _check_encryption(encryption: Encryption | None) -> None:
    if encryption is not None:
        if not encryption.key_id:
            raise _failed("/encryption/key_id", "must not be empty")
        _check_text("/encryption/key_id", encryption.key_id, DISPLAY_NAME_CHARS_MAX)
        _check_number("/encryption/rotation_period_seconds", encryption.rotation_period_seconds)


def _check_number(pointer: str, value: int | None) -> None:
    if value is not None and not 0 <= value <= NUMBER_MAX:
        raise _failed(pointer, f"must be 0 to {NUMBER_MAX}")


def _failed(pointer: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {why}", details={"pointer": pointer})
