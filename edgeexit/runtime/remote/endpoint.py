"""One HTTP request to a model of a V2 server: it ends in time, whatever the name service, the connection or the server does.

A socket's time limit holds for each of its calls, and looking a name up has none; so a request runs in a thread of its own, which is left
alone when its time is over. The connection is kept from request to request, and dropped after anything but an answer.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from edgeexit.backends.base import Array
from edgeexit.errors import InputError
from edgeexit.graph.model import TensorSpec
from edgeexit.runtime.remote.protocol import HEADER_LENGTH, decode_response, encode_request, find_largest_response

TOKEN, AUTHORITY = "EDGEEXIT_REMOTE_TOKEN", "EDGEEXIT_REMOTE_CA"
_PATH = re.compile(r"[!-~]*/v2/models/[!-~]*[!-.0-~]/?")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
FAULTS = (OSError, http.client.HTTPException, ValueError)
"""What `RemoteModel.infer` raises."""
_DROPPED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
_SHORTEST_S = 1e-6


@dataclass(frozen=True)
class _Sent:
    """A request, and the most bytes that its answer may have."""

    body: bytes
    headers: dict[str, str]
    largest: int


@dataclass
class _Reply:
    """What the thread of a request leaves; `ended` is set when it has."""

    ended: threading.Event = field(default_factory=threading.Event)
    body: bytes = b""
    header_length: int | None = None
    fault: Exception | None = None


class HttpEndpoint:
    """A model of a V2 server over HTTP, such as http://host:8000/v2/models/net-stage-3. Not for several threads at once.

    Args:
        url: http or https; the path ends with the model's name.

    Raises:
        InputError: it is not such a URL; or there is a token that no header can carry, or that would go unencrypted to another machine.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(explain_url(url)) from error
        if parts.scheme not in ("http", "https") or not host or parts.username is not None or parts.fragment:
            raise InputError(explain_url(url))
        if parts.query or not _PATH.fullmatch(parts.path):
            raise InputError(explain_url(url))
        token = read_token_for(host, encrypted=parts.scheme == "https")
        self.url = url
        self._host, self._port = host, port
        self._path = parts.path.rstrip("/") + "/infer"
        self._headers = {"Content-Type": "application/octet-stream"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._tls = _make_tls() if parts.scheme == "https" else None
        self._kept: tuple[int, http.client.HTTPConnection] | None = None  # with the process that opened it

    def infer(
        self, tensors: Mapping[str, Array], outputs: Sequence[TensorSpec], count: int, timeout_s: float
    ) -> dict[str, Array]:
        """Ask for outputs of `count` samples; see `RemoteModel`."""
        body, length = encode_request(tensors, outputs)
        largest = find_largest_response(outputs, count)
        return decode_response(*self.post(body, length, largest, timeout_s), outputs, count)

    def post(self, body: bytes, header_length: int, largest: int, timeout_s: float) -> tuple[bytes, int | None]:
        """Send a request; the body of the response and the length of the JSON at its start, None where all of it is.

        Raises:
            TimeoutError: there is no answer in time.
            OSError, http.client.HTTPException, ValueError: no connection, or something else than an answer of at most `largest` bytes.
        """
        sent = _Sent(body, {**self._headers, HEADER_LENGTH: str(header_length)}, largest)
        end_s = perf_counter() + timeout_s
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == os.getpid():  # a forked child must not speak in its parent's connection
            try:
                return self._send(kept[1], sent, end_s)
            except _DROPPED:  # the server has closed it meanwhile, as it may between two requests
                pass
        return self._send(self._connect(), sent, end_s)

    def _send(self, connection: http.client.HTTPConnection, sent: _Sent, end_s: float) -> tuple[bytes, int | None]:
        timeout_s = max(end_s - perf_counter(), _SHORTEST_S)
        reply = _Reply()
        threading.Thread(target=self._exchange, args=(connection, sent, timeout_s, reply), daemon=True).start()
        if not reply.ended.wait(timeout_s):
            msg = f"no answer within {timeout_s:.3g} s"
            raise TimeoutError(msg)
        if reply.fault is not None:
            raise reply.fault
        self._kept = (os.getpid(), connection)
        return reply.body, reply.header_length

    def close(self) -> None:
        """Close the connection."""
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port)

    def _exchange(self, connection: Any, sent: _Sent, timeout_s: float, reply: _Reply) -> None:
        largest = sent.largest
        try:
            connection.timeout = timeout_s
            if connection.sock is not None:
                connection.sock.settimeout(timeout_s)
            connection.request("POST", self._path, sent.body, sent.headers)
            response = connection.getresponse()
            reply.body = response.read(largest + 1)
            if response.status != http.client.OK:
                msg = f"status {response.status} {response.reason}"
                raise ValueError(msg)
            if len(reply.body) > largest:
                msg = f"more than {largest} bytes"
                raise ValueError(msg)
            length = response.getheader(HEADER_LENGTH)
            reply.header_length = None if length is None else int(length)
        except FAULTS as error:
            reply.fault = error
            connection.close()
        finally:
            reply.ended.set()


def read_token() -> str:
    """The token of the environment, without the blanks and the end of line that files of secrets have; empty where there is none.

    Raises:
        InputError: no HTTP header can carry it. The message does not show it.
    """
    token = os.environ.get(TOKEN, "").strip()
    if not all("!" <= character <= "~" for character in token):
        msg = f"the token in {TOKEN} has blanks, control characters or letters beyond ASCII inside, which no HTTP header carries."
        raise InputError(msg)
    return token


def read_token_for(host: str, *, encrypted: bool) -> str:
    """The token of the environment for a server; empty where there is none.

    Raises:
        InputError: no header can carry it, or it would go unencrypted to another machine.
    """
    token = read_token()
    if token and not encrypted and host not in _LOOPBACK:
        msg = f"the token in {TOKEN} would be sent to {host} unencrypted: use https (grpcs for gRPC)."
        raise InputError(msg)
    return token


def _make_tls() -> ssl.SSLContext:
    """How the server's certificate is checked.

    Raises:
        InputError: the file of the authority cannot be read.
    """
    file = os.environ.get(AUTHORITY) or None
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        msg = f"{AUTHORITY} names {file}, from which no certificate can be read ({error.strerror or error})."
        raise InputError(msg) from error


def explain_url(url: object) -> str:
    """The message that a URL is none of a model."""
    return f"{url!r} is no model of a V2 server: give a URL such as http://host:8000/v2/models/net-stage-3 or grpc://host:8001/net-stage-3."
