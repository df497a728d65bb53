"""`felix-admin backup`: everything that the cluster keeps, as a file."""

from __future__ import annotations

from pathlib import Path

import click

from felix.cli.admin.client import AdminClient, Request
from felix.cli.admin.errors import OutcomeUnknown, Usage
from felix.cli.admin.options import with_client


@click.group("backup")
def backup_group() -> None:
    """Backups; they are restored by felix-controlplane restore."""


@backup_group.command("save")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--linearizable", is_flag=True, help="Everything acknowledged before is in it; needs a quorum."
)
@with_client
def save(client: AdminClient, file: Path, linearizable: bool) -> None:
    """Fetch a backup from the first node that gives it into FILE, and verify it.

    FILE gets its name once every byte is checked; a file that is there is not written over.
    """
    # what reads backups is half of a node: no other command should wait for it to be loaded
    from felix.cli.backup import describe_backup  # noqa: PLC0415 - see above
    from felix.core.catalog.backup import BadBackup  # noqa: PLC0415 - see above
    from felix.recovery.backups import keep_backup  # noqa: PLC0415 - see above
    from felix.recovery.errors import Refused as NotKept  # noqa: PLC0415 - see above

    query: dict[str, str | list[str]] = {"consistency": "linearizable"} if linearizable else {}
    request = Request(path="/v1/cluster/backup", query=query)
    try:
        with client.download(request) as pieces:
            found = keep_backup(pieces, file)
    except BadBackup as error:
        raise OutcomeUnknown(
            f"what came is not a whole backup: {error}", "run the same again, or ask another node"
        ) from error
    except NotKept as error:
        raise Usage(str(error), "name another file") from error
    except OSError as error:
        raise Usage(f"{file}: {error.strerror}", "name a file that can be written") from error
    describe_backup(found)
