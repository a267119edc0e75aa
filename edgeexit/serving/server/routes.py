"""The routes of the Open Inference Protocol (V2) for a bundle, as an ASGI application.

GET  /v2, /v2/health/live, /v2/health/ready
GET  /v2/models/NAME, /v2/models/NAME/ready
POST /v2/models/NAME/infer
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import edgeexit
from edgeexit.errors import EdgeExitError
from edgeexit.graph.model import TensorSpec
from edgeexit.runtime.remote.endpoint import read_token
from edgeexit.runtime.remote.protocol import DATA_TYPES, HEADER_LENGTH
from edgeexit.serving.server.engines import ServedBundle, StageModel
from edgeexit.serving.server.messages import BadRequest

_A_LENGTH = re.compile(r"[0-9]{1,18}")
_OK, _BAD, _FORBIDDEN, _MISSING, _TOO_LARGE, _FAULT, _BUSY = 200, 400, 401, 404, 413, 500, 503


class _Refused(Exception):  # noqa: N818 - an answer, and no fault of the server
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Routes:
    """The routes.

    Args:
        served: the models.
        workers: threads in which they run, one for each set of engines.
        most_waiting: requests that may be worked on or wait for a worker; what comes beyond is answered with 503 at once.

    Raises:
        InputError: no HTTP header can carry the token of the environment.
    """

    def __init__(self, served: ServedBundle, workers: Executor, most_waiting: int) -> None:
        self._served, self._workers, self._free = served, workers, most_waiting
        self._token = read_token()

    def make_application(self) -> Starlette:
        """The ASGI application."""
        guard = self._guard
        return Starlette(
            routes=[
                Route("/v2", guard(self._describe_server)),
                Route("/v2/health/live", guard(self._say_alive, open_to_all=True)),
                Route("/v2/health/ready", guard(self._say_alive, open_to_all=True)),
                Route("/v2/models/{name}", guard(self._describe_model)),
                Route("/v2/models/{name}/ready", guard(self._say_ready)),
                Route("/v2/models/{name}/infer", guard(self._infer), methods=["POST"]),
            ]
        )

    def _guard(
        self, answer: Callable[[Request], Awaitable[Response]], *, open_to_all: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Check the token, and turn what is refused into the protocol's answer."""

        async def guarded(request: Request) -> Response:
            try:
                if not open_to_all:
                    self._check_token(request)
                return await answer(request)
            except _Refused as refused:
                return JSONResponse({"error": str(refused)}, refused.status)
            except BadRequest as fault:
                return JSONResponse({"error": str(fault)}, _BAD)
            except EdgeExitError as fault:
                return JSONResponse({"error": str(fault)}, _FAULT)

        return guarded

    def _check_token(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if self._token and not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise _Refused(_FORBIDDEN, "a bearer token is needed")

    def _find_model(self, request: Request) -> StageModel:
        name = request.path_params["name"]
        if name not in self._served.models:
            raise _Refused(_MISSING, f"there is no model {name!r}; models: {', '.join(self._served.models)}")
        return self._served.models[name]

    async def _describe_server(self, _request: Request) -> Response:
        return JSONResponse(
            {"name": "edgeexit", "version": edgeexit.__version__, "extensions": ["binary_tensor_data"]},
        )

    async def _say_alive(self, _request: Request) -> Response:
        return JSONResponse({"live": True, "ready": True})

    async def _say_ready(self, request: Request) -> Response:
        return JSONResponse({"name": self._find_model(request).name, "ready": True})

    async def _describe_model(self, request: Request) -> Response:
        model = self._find_model(request)
        return JSONResponse(
            {
                "name": model.name,
                "versions": ["1"],
                "platform": "edgeexit",
                "inputs": [_describe(spec) for spec in model.inputs],
                "outputs": [_describe(spec) for spec in model.outputs],
            }
        )

    async def _infer(self, request: Request) -> Response:
        model = self._find_model(request)
        length = request.headers.get(HEADER_LENGTH)
        if length is not None and not _A_LENGTH.fullmatch(length):
            raise BadRequest(f"{HEADER_LENGTH} must be a number of bytes")
        body = await _read_body(request, model.largest_request)
        if self._free <= 0:
            raise _Refused(_BUSY, "too many requests are waiting")
        self._free -= 1
        try:
            loop = asyncio.get_running_loop()
            header_length = None if length is None else int(length)
            content, made = await loop.run_in_executor(self._workers, self._served.answer, model, body, header_length)
        finally:
            self._free += 1
        kind = "application/json" if made is None else "application/octet-stream"
        return Response(content, _OK, {} if made is None else {HEADER_LENGTH: str(made)}, media_type=kind)


async def _read_body(request: Request, largest: int) -> bytes:
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > largest:
                raise _Refused(_TOO_LARGE, f"the request has more than {largest} bytes")
    except ClientDisconnect:
        raise _Refused(_BAD, "the client has gone") from None
    return bytes(body)


def _describe(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": DATA_TYPES[spec.dtype],
        "shape": [d if isinstance(d, int) else -1 for d in spec.shape],
    }
