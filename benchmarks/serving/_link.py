"""A link between a board and a server, on loopback: a TCP proxy that delays both ways, limits the bandwidth and loses connections.

TCP repeats what a network loses, so that a program sees loss as a connection that stands still or is closed: that is what this proxy does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

_CHUNK = 1 << 16
_TURNS_S = 0.01
"""Seconds in which the loop makes a few turns."""

_Way: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Link:
    """Properties of a link.

    Attributes:
        round_trip_s: the delay both ways together, seconds.
        bytes_per_s: bandwidth, each way.
        loss: probability that a connection stands still from some request on, or is closed; half of the time each.
        seed: of the loss.
    """

    round_trip_s: float
    bytes_per_s: float = float("inf")
    loss: float = 0.0
    seed: int = 0


class LinkProxy:
    """The proxy; it runs in a thread of its own.

    Attributes:
        server_port: where the server listens on loopback; may be changed for connections to come.
        port: where the proxy listens.
        bytes_up: bytes that have gone to the server.
    """

    def __init__(self, link: Link, server_port: int) -> None:
        self.server_port, self.port, self.bytes_up = server_port, 0, 0
        self._link, self._random = link, random.Random(link.seed)
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())  # epoll wakes up in whole milliseconds
        self._never = asyncio.Event()  # held here: tasks that wait for an event of their own are collected as garbage

    async def start(self) -> asyncio.Server:
        """Begin to listen."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self.server_port)
            with contextlib.closing(back):
                await self._carry_both_ways((reader, back), (there, writer))

    async def _carry_both_ways(self, up: _Way, down: _Way) -> None:
        """Until one of them has ended."""
        ways = [self._loop.create_task(self._carry(*up, up=True)), self._loop.create_task(self._carry(*down))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool = False) -> None:
        """Carry one direction of a connection; returns when it is closed or lost."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sender = self._loop.create_task(self._deliver(on_the_way, writer))
        free_s = 0.0
        try:
            while data := await reader.read(_CHUNK):
                if up and self._random.random() < self._link.loss:
                    if self._random.random() < 0.5:
                        return
                    await self._never.wait()  # stands still until the end
                self.bytes_up += len(data) if up else 0
                free_s = max(self._loop.time(), free_s) + len(data) / self._link.bytes_per_s
                on_the_way.put_nowait((free_s + self._link.round_trip_s / 2, data))
        except OSError:
            return
        finally:
            sender.cancel()

    async def _deliver(self, on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                arrives_s, data = await on_the_way.get()
                await asyncio.sleep(max(0.0, arrives_s - self._loop.time()))
                writer.write(data)
                await writer.drain()

    def run(self, begun: threading.Event) -> None:
        """Run until `stop`."""
        server = self._loop.run_until_complete(self.start())
        begun.set()
        self._loop.run_forever()
        self._loop.set_exception_handler(lambda _loop, _context: None)  # connections that are cut off now are no news
        self._loop.run_until_complete(asyncio.sleep(_TURNS_S))  # sockets just accepted get transports, which close them
        server.close()
        while tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.run_until_complete(asyncio.sleep(_TURNS_S))  # transports close their sockets in later turns
        self._loop.close()

    def stop(self) -> None:
        """End the loop; for another thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)


@contextmanager
def open_link(link: Link, server_port: int) -> Iterator[LinkProxy]:
    """A link to a server on loopback."""
    proxy, begun = LinkProxy(link, server_port), threading.Event()
    thread = threading.Thread(target=proxy.run, args=(begun,), daemon=True)
    thread.start()
    begun.wait()
    try:
        yield proxy
    finally:
        proxy.stop()
        thread.join()
