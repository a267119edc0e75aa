"""The link of `python -m benchmarks remote`: what is sent arrives whole and not too early; a lost connection never answers."""

from __future__ import annotations

import gc
import logging
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from time import perf_counter

import pytest

from benchmarks.serving._link import Link, open_link

ROUND_TRIP_S, PATIENCE_S = 0.02, 120


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that sends back what it gets."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_what_is_sent_comes_back_whole_after_the_round_trip(echo: int) -> None:
    """Every byte, in order, never before the delay of both ways."""
    sent = bytes(range(256)) * 1000
    with open_link(Link(ROUND_TRIP_S), echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.settimeout(PATIENCE_S)
        start = perf_counter()
        client.sendall(sent)
        came = b""
        while len(came) < len(sent):
            came += client.recv(1 << 20)
        took_s = perf_counter() - start

    assert sent == came
    assert took_s >= ROUND_TRIP_S
    assert len(sent) == proxy.bytes_up


def test_a_lost_connection_never_answers(echo: int) -> None:
    """It is closed, or stands still until the client gives up."""
    for seed in range(4):
        with (
            open_link(Link(0.0, loss=1.0, seed=seed), echo) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port)) as client,
        ):
            client.settimeout(0.1)
            client.sendall(b"x")
            with suppress(TimeoutError, ConnectionError):
                assert b"" == client.recv(1)


def test_whatever_happens_to_connections_nothing_is_logged(echo: int, caplog: pytest.LogCaptureFixture) -> None:
    """Connections that stand still stay so, whatever the garbage collector does; at the end all are cut off, also those just made."""
    with caplog.at_level(logging.WARNING, "asyncio"), ExitStack() as opened:
        for seed in range(4):
            with open_link(Link(0.001, loss=0.5, seed=seed), echo) as proxy:
                for _ in range(20):
                    client = opened.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
                    client.sendall(b"x")
                gc.collect()

    assert [] == [record.getMessage() for record in caplog.records if record.name == "asyncio"]
