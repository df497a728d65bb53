"""TLS for the HTTP listeners: one certificate, read anew when its files change."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from pathlib import Path
from typing import TypeAlias

import structlog

_Stamp: TypeAlias = tuple[tuple[int, int, int, int], ...]


class BadCertificate(Exception):
    """The files cannot be read, or do not hold a certificate and the key to it."""


def load_context(cert_file: str, key_file: str) -> ssl.SSLContext:
    """Read a certificate with its chain, and its key. Raises: BadCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    for path in (cert_file, key_file):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise BadCertificate(f"{path}: {error.strerror}") from error
    try:
        # Without a password at hand OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise BadCertificate(
            f"{cert_file} and {key_file} are not a certificate in PEM and its key without a "
            f"password ({getattr(error, 'reason', None) or error})"
        ) from error
    return context


class TlsFiles:
    """The context for new connections. Connections that are open keep theirs."""

    def __init__(self, cert_file: str, key_file: str) -> None:
        self._files = (cert_file, key_file)
        self._lock = threading.Lock()
        self._seen: _Stamp | None = None
        """Of the files that were tried last, whether they were good or not."""
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Give the context of the newest files that are good.

        Raises: BadCertificate, as long as there have been none. A pair that is not good, perhaps
        because only one file has been replaced so far, is logged once and the one before stays.
        """
        with self._lock:
            stamp = self._stamp()
            if stamp == self._seen and self._context is not None:
                return self._context
            self._seen = stamp
            try:
                self._context = load_context(*self._files)
            except BadCertificate as error:
                if self._context is None:
                    raise
                structlog.get_logger(__name__).error("tls_files_not_taken", problem=str(error))
            return self._context

    def _stamp(self) -> _Stamp:
        try:
            found = [os.stat(path) for path in self._files]
        except OSError:
            return ()
        return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def say_goodbye(connection: object) -> None:
    """Tell a client that the end of a TLS connection is meant; does not wait for its answer."""
    if isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):  # it may be gone, or have failed before
            connection.settimeout(0)
            connection.unwrap()
