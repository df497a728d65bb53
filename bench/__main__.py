"""`python -m bench`: measure, print, draw."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import click
from rich.console import Console

from bench import (
    commit,
    exchange,
    failover,
    fanout,
    fleet,
    handover,
    herd,
    idle,
    install,
    placement,
    restart,
    snapshot,
)
from bench.errors import BenchError
from bench.machine import describe
from bench.measure import Round, medians, ratios
from bench.plot import plot
from bench.report import print_figures, print_ratios, write_json
from bench.stage import Plan

BENCHES: dict[str, Callable[[Plan], list[Round]]] = {
    "commit": commit.run,
    "fanout": fanout.run,
    "herd": herd.run,
    "exchange": exchange.run,
    "failover": failover.run,
    "handover": handover.run,
    "snapshot": snapshot.run,
    "install": install.run,
    "restart": restart.run,
    "idle": idle.run,
    "placement": placement.run,
    "fleet": fleet.run,
}
RESULTS = Path("bench-results")
_WIDTH_MIN = 110
"""Columns: no figure of the tables is cut off in a pipe."""


@click.command()
@click.argument("bench", type=click.Choice([*BENCHES, "all"]))
@click.option("--peer", "peers", type=click.Choice(["etcd"]), multiple=True, help="Beside ours.")
@click.option("--floor", is_flag=True, help="Also what sockets, encoding and disks cost (commit).")
@click.option("--without-felix", is_flag=True, help="Measure the peers and the floor alone.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures.")
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="PNG to draw.")
@click.option("--rounds", default=3, show_default=True, help="Turns of each system.")
@click.option("--trials", default=10, show_default=True, help="Kills, restarts, fetches, plans.")
@click.option("--count", default=2000, show_default=True, help="Commits in sequence.")
@click.option("--seconds", default=10.0, show_default=True, help="Of the load with 64 in flight.")
@click.option(
    "--subscribers",
    multiple=True,
    default=(10, 100, 1000),
    show_default=True,
    help="Of the fan-out, a case each; the most of them are the herd.",
)
@click.option("--brokers", default=100, show_default=True, help="Of the fleet.")
@click.option("--streams", default=10_000, show_default=True, help="That the fleet serves.")
@click.option("--via", type=click.Choice(["leader", "follower"]), default="leader")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=RESULTS / "data",
    show_default=True,
    help="Folder on the disk to be measured.",
)
def main(
    bench: str,
    *,
    peers: tuple[str, ...],
    floor: bool,
    without_felix: bool,
    json_path: Path | None,
    plot_path: Path | None,
    rounds: int,
    trials: int,
    count: int,
    seconds: float,
    subscribers: tuple[int, ...],
    brokers: int,
    streams: int,
    via: Literal["leader", "follower"],
    data_dir: Path,
) -> None:
    """Measure a cluster of three nodes on this machine, side by side with its peers."""
    # Told to end, leave the `with` blocks in order: the clusters end with this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(width=max(_WIDTH_MIN, Console().width))
    systems = [*([] if without_felix else ["felix"]), *peers, *(["floor"] if floor else [])]
    plan = Plan(
        systems=systems,
        data_dir=data_dir.absolute(),
        rounds=rounds,
        count=count,
        seconds=seconds,
        trials=trials,
        subscribers=subscribers,
        brokers=brokers,
        streams=streams,
        via=via,
        say=lambda text: console.print(text, style="dim", highlight=False),
    )
    data_dir.mkdir(parents=True, exist_ok=True)
    console.print(describe(data_dir), highlight=False)
    console.print(f"writes go to the {via}", highlight=False)
    try:
        middles = [
            one
            for name in (BENCHES if bench == "all" else [bench])
            for one in _run_one(console, name, plan)
        ]
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if json_path is not None:
        write_json(json_path, bench, middles)
    if find_spec("matplotlib") is None:
        console.print("not drawn: matplotlib is not installed (the extra `bench` has it)")
        return
    picture = plot_path or RESULTS / f"{bench}.png"
    plot(picture, bench, [one.figures for one in middles])
    console.print(f"drawn: {picture}", highlight=False)


def _run_one(console: Console, name: str, plan: Plan) -> list[Round]:
    rounds = BENCHES[name](plan)
    middles = medians(rounds)
    medians_of = "" if name in {"failover", "handover"} else f", medians of {plan.rounds} rounds"
    print_figures(console, name + medians_of, middles)
    for peer in plan.systems:
        if peer != "felix":
            print_ratios(console, ratios(rounds, "felix", peer))
    return middles


if __name__ == "__main__":
    main()
