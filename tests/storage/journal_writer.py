"""A process that appends for ever and says what is durable; the crash test kills it.

Run as `python journal_writer.py JOURNAL`: prints the last index after each append.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from felix.proto.ids import Index, Term
from felix.proto.raft import Entry, EntryKind
from felix.storage.journal import SqliteJournal

BATCH = 7


def data_of(index: int) -> bytes:
    """Give every entry data of its own."""
    return b"%d;" % index * (1 + index % 50)


def main() -> None:
    """Append until killed."""
    journal = SqliteJournal(Path(sys.argv[1]))
    found = journal.recover().entries
    last = found[-1].index if found else 0
    while True:
        batch = [
            Entry(Index(index), Term(1), EntryKind.COMMAND, data_of(index))
            for index in range(last + 1, last + 1 + BATCH)
        ]
        journal.append(None, batch)
        last += BATCH
        os.write(1, b"%d\n" % last)


if __name__ == "__main__":
    main()
