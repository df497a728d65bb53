"""A look into SQLite's write-ahead file, to notice what SQLite drops without a word.

The layout is that of https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct(">IIIIIIII")
"""Magic number, format, page size, checkpoints, two salts, two checksums."""
_FRAME: Final = struct.Struct(">IIIIII")
"""Page, size of the database after a commit, two salts, two checksums."""
PAGE_BYTES_MAX: Final = 65_536


def frames_written(path: Path) -> int:
    """Count the frames that were begun since the file was last used from its start.

    Their checksums are not looked at: SQLite does that, and says how many it believes.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return 0
            _, _, page_bytes, _, *salts, _, _ = _HEADER.unpack(header)
            if not 0 < page_bytes <= PAGE_BYTES_MAX:
                return 0
            count = 0
            while len(head := file.read(_FRAME.size)) == _FRAME.size:
                if list(_FRAME.unpack(head)[2:4]) != salts:
                    break
                count += 1
                file.seek(page_bytes, 1)
            return count
    except FileNotFoundError:
        return 0
