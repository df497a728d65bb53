"""`felix-controlplane dev-idp`: an identity provider for trying things out, in its own process."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from felix.cli.dev_idp import DevIdp
from felix.cli.options import EXIT_START, end


@click.command("dev-idp")
@click.option("--port", default=17006, type=click.IntRange(1024, 65535), show_default=True)
@click.option(
    "--data-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps its keys, so that tokens stay good when it is started again.",
)
def dev_idp(port: int, data_dir: Path) -> None:
    """Vouch for anybody who asks, on loopback only: for trying things out, never for more."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        idp = DevIdp(port, data_dir)
        idp.start()
    except OSError as error:
        end(EXIT_START, f"127.0.0.1:{port}, {data_dir}: {error.strerror}; try another --port")
    click.echo(f"vouching for anybody who asks, as {idp.issuer}")
    stop.wait()
    idp.stop()
