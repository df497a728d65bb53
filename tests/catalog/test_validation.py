"""What a command must look like before it may be proposed."""

from __future__ import annotations

import pytest

from felix.core.catalog.validation import (
    DESCRIPTION_CHARS_MAX,
    DISPLAY_NAME_CHARS_MAX,
    NUMBER_MAX,
    REPLICATION_FACTOR_MAX,
    SHARDS_MAX,
    check,
    check_idempotency_key,
)
from felix.proto.commands import (
    AnyCommand,
    CreateCache,
    CreateNamespace,
    CreateStream,
    CreateTenant,
    DeleteStream,
    UpdateCache,
    UpdateNamespace,
    UpdateStream,
    UpdateTenant,
)
from felix.proto.errors import ValidationFailed
from felix.proto.resources import Encryption, Quotas, RetentionPolicy, StreamSpec


def stream(**spec: int | RetentionPolicy) -> CreateStream:
    return CreateStream(
        tenant_id="acme",
        namespace="prod",
        stream="s",
        spec=StreamSpec(**spec),  # type: ignore[arg-type]  # numbers where numbers go
    )


def patch(retention: RetentionPolicy) -> UpdateStream:
    return UpdateStream(tenant_id="acme", namespace="prod", stream="s", retention=retention)


@pytest.mark.parametrize(
    "command",
    [
        CreateTenant(tenant_id="A-1.b_c", display_name="Größe 🐧", description="d" * 4096),
        CreateTenant(tenant_id="a", quotas=Quotas(0, NUMBER_MAX), encryption=Encryption("k", 0)),
        CreateNamespace(tenant_id="a", namespace="n" * 255, quotas=Quotas()),
        stream(shards=1, replication_factor=1),
        stream(shards=SHARDS_MAX, replication_factor=REPLICATION_FACTOR_MAX),
        stream(retention=RetentionPolicy(0, NUMBER_MAX)),
        UpdateStream(tenant_id="a", namespace="n", stream="s"),
        UpdateCache(tenant_id="a", namespace="n", cache="c", expected_version=0),
    ],
)
def test_what_is_within_the_rules_passes(command: AnyCommand) -> None:
    check(command)


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (CreateTenant(tenant_id=""), "/tenant_id"),
        (CreateTenant(tenant_id="snapshot"), "/tenant_id"),
        (CreateTenant(tenant_id="a" * 256), "/tenant_id"),
        (CreateTenant(tenant_id="a", display_name="x" * 1025), "/display_name"),
        (CreateTenant(tenant_id="a", description="x" * 4097), "/description"),
        (CreateTenant(tenant_id="a", quotas=Quotas(max_streams=-1)), "/quotas/max_streams"),
        (
            CreateTenant(tenant_id="a", quotas=Quotas(max_cache_memory=NUMBER_MAX + 1)),
            "/quotas/max_cache_memory",
        ),
        (CreateTenant(tenant_id="a", encryption=Encryption("")), "/encryption/key_id"),
        (CreateTenant(tenant_id="a", encryption=Encryption("\ud800")), "/encryption/key_id"),
        (
            CreateTenant(tenant_id="a", encryption=Encryption("k", -1)),
            "/encryption/rotation_period_seconds",
        ),
        (UpdateTenant(tenant_id="a", expected_version=-1), "/expected_version"),
        (UpdateTenant(tenant_id="a", display_name="a\rb"), "/display_name"),
        (CreateNamespace(tenant_id="a", namespace="changes"), "/namespace"),
        (UpdateNamespace(tenant_id="a", namespace="n", description="\x9f"), "/description"),
        (CreateCache(tenant_id="a", namespace="n", cache="a b"), "/cache"),
        (CreateCache(tenant_id="a", namespace="n", cache="c", display_name="\0"), "/display_name"),
        (DeleteStream(tenant_id="a", namespace="n", stream="*"), "/stream"),
        (
            DeleteStream(tenant_id="a", namespace="n", stream="s", expected_version=1 << 63),
            "/expected_version",
        ),
        (stream(shards=0), "/spec/shards"),
        (stream(shards=SHARDS_MAX + 1), "/spec/shards"),
        (stream(replication_factor=0), "/spec/replication_factor"),
        (stream(replication_factor=256), "/spec/replication_factor"),
        (stream(retention=RetentionPolicy(-1)), "/spec/retention/max_age_seconds"),
        (patch(RetentionPolicy(None, 1 << 63)), "/retention/max_size_bytes"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_a_pointer_to_it(
    command: AnyCommand, pointer: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check(command)
    assert refused.value.details == {"pointer": pointer}


@pytest.mark.parametrize(
    "name", ["a/b", "a:b", "a*", "a\0", "a\r\n", "\ud800", "ü", ".a", "-a", "\u202ea", " a"]
)
@pytest.mark.parametrize("member", ["tenant_id", "namespace", "stream"])
def test_no_odd_name_gets_anywhere(member: str, name: str) -> None:
    names = {"tenant_id": "a", "namespace": "n", "stream": "s", member: name}
    for command in (CreateStream(**names), UpdateStream(**names), DeleteStream(**names)):  # type: ignore[arg-type]  # only names
        with pytest.raises(ValidationFailed) as refused:
            check(command)
        assert refused.value.details == {"pointer": f"/{member}"}


@pytest.mark.parametrize("text", ["a\nb", "\t", "\x7f", "\x85", "\udfff"])
def test_texts_hold_no_control_characters_or_halves_of_characters(text: str) -> None:
    with pytest.raises(ValidationFailed):
        check(CreateTenant(tenant_id="a", display_name=text))
    with pytest.raises(ValidationFailed):
        check(UpdateTenant(tenant_id="a", description=text))


def test_texts_may_be_as_long_as_promised() -> None:
    assert (DISPLAY_NAME_CHARS_MAX, DESCRIPTION_CHARS_MAX) == (1024, 4096)
    check(CreateTenant(tenant_id="a", display_name="😀" * 1024, description="😀" * 4096))


@pytest.mark.parametrize("key", ["k", " ", "~" * 255, None])
def test_an_idempotency_key_is_printable_ascii(key: str | None) -> None:
    check_idempotency_key(key)


@pytest.mark.parametrize("key", ["", "k" * 256, "ü", "a\nb", "\x7f", "\ud800"])
def test_another_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check_idempotency_key(key)
    assert refused.value.details == {"pointer": "/idempotency_key"}
