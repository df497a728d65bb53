"""A TCP proxy that knows which node each connection comes from, and holds back what it is told to.

A connection says nothing of who made it, so the proxy looks up whose process holds its other end
(`/proc`). That way every node has one address for all, as in the membership that they agree on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 64 << 10
HELD_CHUNKS_MAX = 64
"""Per direction of a connection; then the sender has to wait."""
START_S = 10.0


class Route(NamedTuple):
    """Where a node is asked, and where it listens; `host:port`."""

    node: str
    front: str
    target: str


class Proxy:
    """One thread; the methods may be called from any other."""

    def __init__(self, nodes: Callable[[], dict[int, str]]) -> None:
        """`nodes` gives the name of the node that each process is."""
        self._nodes = nodes
        self._open: dict[tuple[str, str], asyncio.Event] = {}
        self._delay_s: dict[str, float] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()

    def open(self, routes: Sequence[Route]) -> None:
        """Begin to listen. Raises: OSError."""
        asyncio.run_coroutine_threadsafe(self._listen(routes), self._loop).result(START_S)

    def set_cut(self, way: tuple[str, str], *, is_cut: bool) -> None:
        """Hold back what one node says to another, or let it go on."""

        def change() -> None:
            gate = self._gate(way)
            if is_cut:
                gate.clear()
            else:
                gate.set()

        self._loop.call_soon_threadsafe(change)

    def set_delay(self, node: str, delay_s: float) -> None:
        """Deliver what a node says from now on so much later."""
        self._loop.call_soon_threadsafe(self._delay_s.__setitem__, node, delay_s)

    def close(self) -> None:
        """Close everything and end the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, routes: Sequence[Route]) -> None:
        for route in routes:
            host, _, port = route.front.rpartition(":")
            accepted = functools.partial(self._accepted, route)
            self._servers.append(await asyncio.start_server(accepted, host, int(port)))

    async def _accepted(
        self, route: Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._carry(route, reader, writer)

    async def _carry(
        self, route: Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Connect to the node and pass everything on, until either side ends."""
        try:
            source = owner_of(writer.get_extra_info("peername")[1], route.front, self._nodes())
            host, _, port = route.target.rpartition(":")
            onward_reader, onward = await asyncio.open_connection(host, int(port))
            try:
                async with asyncio.TaskGroup() as both:
                    there, back = (source, route.node), (route.node, source)
                    both.create_task(self._pump(reader, onward, there))
                    both.create_task(self._pump(onward_reader, writer, back))
            except* (ConnectionError, EOFError):
                pass
            finally:
                onward.close()
        finally:
            writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: tuple[str, str]
    ) -> None:
        """Pass on one direction. Raises: EOFError when it ends, to end the other as well."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(HELD_CHUNKS_MAX)

        async def take() -> None:
            while data := await reader.read(CHUNK_BYTES):
                delay_s = self._delay_s.get(way[0], 0.0)
                await held.put((self._loop.time() + delay_s, data))
            raise EOFError

        async def give() -> None:
            while True:
                due, data = await held.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._gate(way).wait()
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as both:
            both.create_task(take())
            both.create_task(give())

    def _gate(self, way: tuple[str, str]) -> asyncio.Event:
        if way not in self._open:
            self._open[way] = asyncio.Event()
            self._open[way].set()
        return self._open[way]


def owner_of(port: int, front: str, nodes: dict[int, str]) -> str:
    """Name the node whose process has connected from a port to an address; empty: none of them."""
    there = int(front.rpartition(":")[2])
    inode = ""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ends = [int(fields[n].rpartition(":")[2], 16) for n in (1, 2)]
        if ends == [port, there]:
            inode = fields[9]
            break
    for pid, name in nodes.items():
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(link.readlink()) == f"socket:[{inode}]":
                        return name
    return ""
