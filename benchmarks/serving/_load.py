"""A load generator: connections that are kept, each of which asks again as soon as it has its answer. It runs in a process of its own.

Not `wrk` or `h2load`, which are quicker but do not say what became of each request when a server ends; not an HTTP client such as `httpx`,
which takes longer for a request than the server does. The same bytes are sent each time, and of an answer its status and length are read.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from time import perf_counter
from typing import Any

_NONE = 0  # the status of a request that was not answered


@dataclass
class Load:
    """What has become of requests.

    Attributes:
        took_s: seconds of each answered request.
        statuses: how many had each status; 0: none, because the connection was closed.
        wall_s, cpu_s: of the generator.
        in_flight: statuses of the requests that were on their way when the server was told to end.
    """

    took_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    in_flight: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Plan:
    """What to ask.

    Attributes:
        address: host and port of the server.
        request: the bytes of a request, head and body.
        connections: how many there are.
        seconds: for how long.
        end_process: a process that gets SIGTERM after that time; then each connection goes on until it is closed.
    """

    address: tuple[str, int]
    request: bytes
    connections: int
    seconds: float
    end_process: int | None = None


def make_request(host: str, path: str, body: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
    """The bytes of a POST."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        f"Content-Length: {len(body)}",
        *(f"{k}: {v}" for k, v in headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def generate_load(plan: Plan) -> Load:
    """Ask, in another process, which shares nothing with this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run, plan).result()


def _run(plan: Plan) -> Load:
    return asyncio.run(_Generator(plan).run())


class _Generator:
    def __init__(self, plan: Plan) -> None:
        self._plan, self._load = plan, Load()
        self._waiting: dict[int, bool] = {}  # of each connection: whether its request was sent before the signal
        self._over = False

    async def run(self) -> Load:
        plan, load = self._plan, self._load
        opened = [await asyncio.open_connection(*plan.address) for _ in range(plan.connections)]
        start_s, cpu_s = perf_counter(), time.process_time()
        asking = [asyncio.create_task(self._ask(number, *pair)) for number, pair in enumerate(opened)]
        await asyncio.sleep(plan.seconds)
        if plan.end_process is None:
            self._over = True
        else:
            os.kill(plan.end_process, signal.SIGTERM)
            self._waiting = dict.fromkeys(self._waiting, True)
        await asyncio.gather(*asking)
        load.wall_s, load.cpu_s = perf_counter() - start_s, time.process_time() - cpu_s
        return load

    async def _ask(self, number: int, reader: asyncio.StreamReader, writer: Any) -> None:
        while not self._over:
            self._waiting[number] = False
            start_s = perf_counter()
            status = await self._exchange(reader, writer)
            took_s = perf_counter() - start_s
            self._load.statuses[status] += 1
            if self._waiting.pop(number):
                self._load.in_flight[status] += 1
            if status == _NONE:
                break
            self._load.took_s.append(took_s)
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: Any) -> int:
        """Send a request and read its answer; its status."""
        try:
            writer.write(self._plan.request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            return int(head[9:12])
        except (OSError, asyncio.IncompleteReadError):
            return _NONE
