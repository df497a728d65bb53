"""What becomes of versions and feeds when metadata is taken over into a new cluster.

A backup that is restored, or the log of a lost cluster, may lack what the old cluster did last.
Its clients have seen versions that the new cluster must not give to something else, so the new one
goes on far above: by a distance, which is enough if nothing but the old cluster came of what is
taken over. And the consumers of feeds, who know no epochs, must be told everything again.
"""

from __future__ import annotations

from typing import Final

import msgspec

MARGIN_DEFAULT: Final = 1_000_000_000
"""How many updates may be missing: 55 hours of 5,000 a second."""
VERSION_MAX: Final = 1 << 53
"""Beyond it a version is not exact in every JSON reader."""


class TooOften(Exception):
    """Versions would leave the range that every client can read."""


class Renewal(msgspec.Struct, frozen=True):
    """The last time the metadata was taken over.

    With `V` the last version before it, numbers are used so: up to `V` by the old history, up to
    `V + margin` perhaps by what is lost; then `V` numbers to take back what consumers of feeds may
    believe, `V` numbers to tell what there is, in the old order. Versions go on behind.
    """

    version: int
    """The last version before it."""
    margin: int

    def __post_init__(self) -> None:
        """Raises: TooOften."""
        if self.next_version > VERSION_MAX:
            raise TooOften(f"versions would go on at {self.next_version}, beyond {VERSION_MAX}")

    @property
    def next_version(self) -> int:
        """Where the catalog stands after it."""
        return 3 * self.version + self.margin

    def taken_back_at(self, version: int) -> int:
        """Number the taking back of what was created at a version of before."""
        return self.version + self.margin + version

    def told_at(self, version: int) -> int:
        """Number the telling of what happened at a version; later ones stay as they are."""
        return version if version > self.version else 2 * self.version + self.margin + version


NONE: Final = Renewal(0, 0)
"""The metadata never was taken over."""
