"""`felix-controlplane sim-broker`: a simulated broker in a process of its own."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

import click

from felix.cli import logs
from felix.cli.config import LogConfig
from felix.cli.options import EXIT_CONFIG, EXIT_START, end
from felix.cli.sim_broker import COMMANDS, SimBroker, SimOptions, obey
from felix.proto.brokers import BrokerCapacity
from felix.transport.broker import BrokerSettings
from felix.transport.curve import ClientCurve, read_key_pair

EXIT_CRASHED: Final = 70
EXIT_REPLACED: Final = 71
"""Another process has registered under the same id: do not start this one again by itself."""


@click.command("sim-broker", epilog=f"Commands on stdin: {COMMANDS}.")
@click.option("--rpc", multiple=True, required=True, help="host:port of a node; repeat for each.")
@click.option("--watch", multiple=True, required=True, help="host:port, in the order of --rpc.")
@click.option("--broker-id", default="auto", show_default=True)
@click.option("--address", required=True, help="host:port that clients are told.")
@click.option("--region", default="")
@click.option("--zone", default="")
@click.option("--max-shards", type=click.IntRange(min=0), default=None)
@click.option("--cache", type=click.Path(dir_okay=False, path_type=Path), default=None)
@click.option("--curve-key-file", type=click.Path(dir_okay=False, path_type=Path), default=None)
@click.option("--server-key", multiple=True, help="A node's CURVE key, in the order of --rpc.")
@click.option("--copy-seconds", type=click.FloatRange(min=0), default=0.5, show_default=True)
@click.option("--apply-delay-ms", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--flap-seconds", type=click.FloatRange(min=0), default=0, help="Deaf and back.")
def sim_broker(
    *,
    rpc: tuple[str, ...],
    watch: tuple[str, ...],
    broker_id: str,
    address: str,
    region: str,
    zone: str,
    max_shards: int | None,
    cache: Path | None,
    curve_key_file: Path | None,
    server_key: tuple[str, ...],
    copy_seconds: float,
    apply_delay_ms: int,
    flap_seconds: float,
) -> None:
    """Run one broker that serves its shards on paper, until SIGTERM, `quit` or `crash`."""
    if len(rpc) != len(watch):
        end(EXIT_CONFIG, "every --rpc needs its --watch")
    logs.set_up(LogConfig(level="warning"))
    settings = BrokerSettings(
        address=address,
        broker_id=broker_id,
        region=region,
        availability_zone=zone,
        capacity=BrokerCapacity(max_shards=max_shards),
    )
    options = SimOptions(copy_s=copy_seconds, apply_delay_s=apply_delay_ms / 1000, cache=cache)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    nodes = [(f"tcp://{one}", f"tcp://{two}") for one, two in zip(rpc, watch, strict=True)]
    try:
        curve = None
        if curve_key_file is not None:
            curve = ClientCurve(read_key_pair(curve_key_file), server_key)
        broker = SimBroker(
            settings,
            nodes,
            options,
            curve=curve,
            out=sys.stdout,
            on_replaced=lambda _: lines.put("quit"),
        )
    except ValueError as error:
        end(EXIT_CONFIG, str(error))
    except OSError as error:
        end(EXIT_START, str(error))
    _run(broker, lines, flap_seconds)
    if broker.broker.replaced is not None:
        end(EXIT_REPLACED, broker.broker.replaced.message)


def _run(broker: SimBroker, lines: queue.SimpleQueue[str], flap_s: float) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: lines.put("quit"))
    threading.Thread(target=_read, args=(lines,), name="stdin", daemon=True).start()
    is_deaf = False
    with broker:
        flap_at = time.monotonic() + flap_s
        while True:
            wait_s = max(0.0, flap_at - time.monotonic()) if flap_s else None
            try:
                line = lines.get(timeout=wait_s)
            except queue.Empty:
                is_deaf = not is_deaf
                (broker.deaf if is_deaf else broker.hear)()
                flap_at = time.monotonic() + flap_s
                continue
            ending = obey(broker, line, click.echo)
            if ending == "crash":
                os._exit(EXIT_CRASHED)
            if ending == "quit":
                return


def _read(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
