"""The server's process: its socket, TLS, and an end that loses nothing of what is under way.

At SIGTERM or Ctrl-C no further connection is taken, requests whose bytes have come are answered, and then the process ends with code 0.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.errors import InputError, MissingExtra

try:
    import uvicorn

    from edgeexit.serving.server.routes import Routes
except ModuleNotFoundError as error:
    if error.name not in ("uvicorn", "starlette", "anyio", "h11", "click"):
        raise
    raise MissingExtra(str(error.name), "serve") from error

from edgeexit.serving.server.engines import ServedBundle

_KEPT_S = 75  # how long an idle connection is kept, so that boards need no new one for each sample

_LAST_LOOK_S = 0.1  # at the end, and so that what was sent a moment before has come


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    Attributes:
        host: name or address of this machine's interface.
        port: 0 takes a free one.
        certificate: file of a certificate chain, for https.
        key: file of its key; None where that is in the same file.
    """

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    def bind(self) -> socket.socket:
        """A socket that listens there.

        Raises:
            InputError: it cannot.
        """
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            return _listen(socket.socket(family, kind, protocol), place)
        except (OSError, OverflowError, UnicodeError) as error:
            msg = f"cannot listen at {self.host}:{self.port} ({error})."
            raise InputError(msg) from error

    def check_certificate(self) -> None:
        """Raise InputError where the certificate or its key cannot be read, or there is a key alone."""
        if self.certificate is None:
            if self.key is not None:
                msg = f"the key {self.key} is of no use without its certificate: give that too (--certificate)."
                raise InputError(msg)
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
        except OSError as error:
            msg = f"no certificate with its key can be read from {self.certificate} ({error})."
            raise InputError(msg) from error

    def format_url(self, port: int) -> str:
        """The first part of the models' URLs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.certificate is None else 'https'}://{host}:{port}"


def _listen(unbound: socket.socket, place: tuple[Any, ...]) -> socket.socket:
    try:
        unbound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections take it over. Without it the body of an answer waits until its headers are acknowledged, which takes 40 ms.
        unbound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        unbound.bind(place)
        unbound.listen()  # at once: with that option two processes may be bound to a port, and the second to listen fails
    except OSError:
        unbound.close()
        raise
    return unbound


class _Server(uvicorn.Server):  # type: ignore[misc]  # untyped here, installed or not
    """A server that says when it has begun."""

    def __init__(self, config: uvicorn.Config, begun: Callable[[], None]) -> None:
        super().__init__(config)
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._begun()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # The signal may come between two looks at the connections: what was sent before it is read in the next one.
        await asyncio.sleep(_LAST_LOOK_S)
        await super().shutdown(sockets)


def serve(
    served: ServedBundle,
    address: Address,
    *,
    workers: int,
    most_waiting: int,
    drain_s: int,
    begun: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        served: the models; closed at the end.
        address: where to listen.
        workers: requests that are worked on at the same time.
        most_waiting: requests that may be worked on or wait.
        drain_s: longest time that requests under way are waited for at the end, seconds.
        begun: called with the first part of the models' URLs once requests are taken.

    Raises:
        InputError: the address or the certificate cannot be used.
    """
    address.check_certificate()
    bound = address.bind()
    url = address.format_url(bound.getsockname()[1])
    with ThreadPoolExecutor(workers, "edgeexit-serve") as threads:
        application = Routes(served, threads, most_waiting).make_application()
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEPT_S,
            timeout_graceful_shutdown=drain_s,
            ssl_certfile=address.certificate,
            ssl_keyfile=address.key,
        )
        server = _Server(config, lambda: begun(url))
        try:
            server.run([bound])
        except (KeyboardInterrupt, asyncio.CancelledError):
            if not (server.started and server.should_exit):
                raise  # it came before the server had begun, or twice
    served.close()
