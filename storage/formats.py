"""What is whole but of another format: it is refused as it is, and never counts as damage."""

from __future__ import annotations

from felix.proto.levels import TooOld
from felix.storage.errors import StorageError


def check_format(what: str, stored: int, known: int) -> None:
    """Check that this build reads `what`, of which it knows one format.

    Raises: TooOld (a newer build wrote it), StorageError (an older one did).
    """
    if stored > known:
        raise TooOld(
            f"{what} has format {stored}, this build reads {known}: a newer build wrote it"
        )
    if stored < known:
        raise StorageError(
            f"{what} has format {stored}, this build reads {known}: an older build wrote it, "
            "and there is no way from one to the other but a backup"
        )
