"""Private keys at rest (contract, chapter 15, S13)."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from felix.proto.identity import SealedKey
from felix.storage.sealed import Sealer, Unsealable, kek_id_of, load_keks, public_text

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def _sealed(sealer: Sealer, tenant_id: str = "acme") -> SealedKey:
    new = sealer.new_key(tenant_id)
    return SealedKey(tenant_id, new.kid, new.public_key, new.kek_id, new.sealed)


def test_s13_a_sealed_key_opens_with_its_kek_and_shows_nothing_of_the_seed() -> None:
    sealed = _sealed(Sealer((OLD,)))
    key = Sealer((NEW, OLD)).open(sealed)
    assert public_text(key) == sealed.public_key
    assert key.private_bytes_raw() not in msgspec.msgpack.encode(sealed)
    assert sealed.kek_id == kek_id_of(OLD)
    assert len(sealed.kid) == 32


def test_a_key_opens_only_in_the_place_that_it_was_sealed_for() -> None:
    sealer = Sealer((OLD,))
    sealed, other = _sealed(sealer), _sealed(sealer)
    for moved in (
        msgspec.structs.replace(sealed, tenant_id="evil"),
        msgspec.structs.replace(sealed, kid=other.kid),
        msgspec.structs.replace(sealed, public_key=other.public_key),
        msgspec.structs.replace(sealed, sealed=other.sealed),
        msgspec.structs.replace(sealed, sealed=sealed.sealed[:-1]),
        msgspec.structs.replace(sealed, sealed=b""),
    ):
        with pytest.raises(Unsealable, match="not what was sealed"):
            sealer.open(moved)


def test_a_key_of_an_unknown_kek_does_not_open_and_the_error_names_the_kek() -> None:
    with pytest.raises(Unsealable, match=kek_id_of(OLD)):
        Sealer((NEW,)).open(_sealed(Sealer((OLD,))))


def test_rewrapping_moves_a_key_to_the_present_kek() -> None:
    sealed = _sealed(Sealer((OLD,)))
    both = Sealer((NEW, OLD))
    assert both.previous_kek_ids == (kek_id_of(OLD),)
    kek_id, body = both.rewrap(sealed)
    moved = msgspec.structs.replace(sealed, kek_id=kek_id, sealed=body)
    assert public_text(Sealer((NEW,)).open(moved)) == sealed.public_key


def test_keks_come_from_a_file_or_from_the_text_and_older_ones_from_files(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text(base64.b64encode(NEW).decode() + "\n")
    old.write_text(base64.b64encode(OLD).decode())
    assert load_keks(str(new), "", (str(old),)) == (NEW, OLD)
    assert load_keks("", base64.b64encode(NEW).decode(), ()) == (NEW,)
    assert load_keks(str(new), "", (str(new),)) == (NEW,)


@pytest.mark.parametrize(
    ("text", "why"),
    [("c2hvcnQ=", "5 bytes"), ("not base64!", "not base64"), ("\xff", "not base64")],
)
def test_what_is_no_kek_is_refused_without_showing_it(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "kek"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Unsealable, match=why) as caught:
        load_keks(str(path), "", ())
    assert text not in str(caught.value)


def test_no_kek_two_keks_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsealable, match="exactly one"):
        load_keks("", "", ())
    with pytest.raises(Unsealable, match="exactly one"):
        load_keks("a", "b", ())
    with pytest.raises(Unsealable, match="No such file"):
        load_keks(str(tmp_path / "none"), "", ())
