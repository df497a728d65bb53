"""Private keys at rest: encrypted, and bound to what they are for (contract, chapter 15, S13).

AES-256-GCM under a key-encryption key (KEK) that never enters the log, a snapshot or a backup. The
associated data names tenant, `kid` and public key: a sealed seed that is moved to another place
does not open there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from felix.proto.identity import NewKey, SealedKey
from felix.storage.errors import StorageError

KEK_BYTES: Final = 32
KEK_FILE_BYTES_MAX: Final = 1_024
NONCE_BYTES: Final = 12
SEED_BYTES: Final = 32
KID_BYTES: Final = 16
_TO_DO: Final = (
    "a key-encryption key is the same on every node: take it from another one, or for a new "
    "cluster make one: felix-controlplane keygen kek --out FILE"
)


class Unsealable(StorageError):
    """A private key cannot be had: its KEK is not known, or it is not what was sealed here."""


class Sealer:
    """Makes signing keys, and opens and closes their private halves. Any thread may use it."""

    def __init__(self, keks: tuple[bytes, ...]) -> None:
        """Take key-encryption keys of 32 bytes; the first one seals, all open."""
        assert keks, "without a key nothing can be sealed"
        assert all(len(kek) == KEK_BYTES for kek in keks), "a KEK has 32 bytes"
        self._ciphers = {kek_id_of(kek): AESGCM(kek) for kek in keks}
        self.kek_id = kek_id_of(keks[0])
        """Of the one that seals."""
        self.previous_kek_ids = tuple(kek_id_of(kek) for kek in keks[1:])

    def new_key(self, tenant_id: str) -> NewKey:
        """Make a signing key for a tenant."""
        key = Ed25519PrivateKey.generate()
        kid = secrets.token_hex(KID_BYTES)
        public_key = public_text(key)
        sealed = self._seal(key.private_bytes_raw(), _place(tenant_id, kid, public_key))
        return NewKey(kid, public_key, self.kek_id, sealed)

    def open(self, sealed: SealedKey) -> Ed25519PrivateKey:
        """Get a private key back.

        Raises: Unsealable.
        """
        key = Ed25519PrivateKey.from_private_bytes(self._unseal(sealed))
        if public_text(key) != sealed.public_key:
            raise Unsealable(f"the halves of key {sealed.kid} do not fit")
        return key

    def rewrap(self, sealed: SealedKey) -> tuple[str, bytes]:
        """Seal a private key anew with the present KEK; give its id and what is to be kept.

        Raises: Unsealable.
        """
        seed = self.open(sealed).private_bytes_raw()
        return self.kek_id, self._seal(seed, _place_of(sealed))

    def _seal(self, seed: bytes, place: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._ciphers[self.kek_id].encrypt(nonce, seed, place)

    def _unseal(self, sealed: SealedKey) -> bytes:
        cipher = self._ciphers.get(sealed.kek_id)
        if cipher is None:
            raise Unsealable(f"key {sealed.kid} needs KEK {sealed.kek_id}, which is not configured")
        nonce, body = sealed.sealed[:NONCE_BYTES], sealed.sealed[NONCE_BYTES:]
        try:
            seed = cipher.decrypt(nonce, body, _place_of(sealed))
        except (InvalidTag, ValueError) as error:
            raise Unsealable(f"key {sealed.kid} is not what was sealed for this place") from error
        if len(seed) != SEED_BYTES:
            raise Unsealable(f"key {sealed.kid} is no Ed25519 seed")
        return seed


def kek_id_of(kek: bytes) -> str:
    """Name a key-encryption key without giving it away."""
    return hashlib.sha256(b"felix kek\0" + kek).hexdigest()[:16]


def public_text(key: Ed25519PrivateKey) -> str:
    """Write the public half as `SigningKey` and a JWK have it."""
    raw = key.public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def load_keks(kek_file: str, kek: str, previous_files: tuple[str, ...]) -> tuple[bytes, ...]:
    """Read the key-encryption keys that the configuration names; the present one comes first.

    A key is 32 bytes in base64. `kek` is the key itself, in place of a file.

    Raises: Unsealable, which names the setting and what to do, and never what stands there.
    """
    if bool(kek_file) == bool(kek):
        raise Unsealable("exactly one of keys.kek_file and keys.kek must be given")
    present = _decode(kek, "keys.kek") if kek else _read("keys.kek_file", kek_file)
    keks = (present, *(_read("keys.previous_kek_files", path) for path in previous_files))
    # A file that is named twice does no harm.
    return tuple(dict.fromkeys(keks))


def _read(setting: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            text = file.read(KEK_FILE_BYTES_MAX)
    except OSError as error:
        raise Unsealable(f"{setting}: {path}: {error.strerror}; {_TO_DO}") from error
    return _decode(text.decode("ascii", errors="replace"), f"{setting}: {path}")


def _decode(text: str, place: str) -> bytes:
    try:
        kek = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unsealable(f"{place}: not base64; {_TO_DO}") from error
    if len(kek) != KEK_BYTES:
        raise Unsealable(f"{place}: {len(kek)} bytes where a key has {KEK_BYTES}; {_TO_DO}")
    return kek


def _place_of(sealed: SealedKey) -> bytes:
    return _place(sealed.tenant_id, sealed.kid, sealed.public_key)


def _place(tenant_id: str, kid: str, public_key: str) -> bytes:
    # None of the three can contain a NUL, so different places have different bytes.
    return "\0".join(("felix signing key", tenant_id, kid, public_key)).encode()
