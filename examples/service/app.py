"""A bundle behind HTTP: FastAPI, one Runner per worker process, and clones of it for requests that are answered at the same time.

EDGEEXIT_BUNDLE=digits.eexit uvicorn --app-dir examples/service --factory app:create_app --port 8000

POST /classify   float32 numbers (application/octet-stream), one sample after the other; or JSON {"samples": [...]}
                 -> {"answers": [{"label": 7, "exit": 1, "score": 0.02}, ...]}, scores in the criterion's own unit
GET  /health     -> status, bundle, thresholds, number of answers by exit

Numbers that JSON does not have are text: "inf", "-inf", "nan".
An error is {"error": "..."} with 413 (too much at once), 422 (bad input) or 503 (all clones busy; with Retry-After).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

import edgeexit
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.graph.model import TensorSpec

logger = logging.getLogger("uvicorn.error")

CLONES = int(os.environ.get("EDGEEXIT_CLONES", "2"))
"""Requests of one worker process that are classified at the same time; each takes a core while it is."""
MOST_SAMPLES = int(os.environ.get("EDGEEXIT_MOST_SAMPLES", "64"))
"""Samples of one request."""
JSON_BYTES = 24
"""Bytes that a number may take in JSON, with its comma."""
WAIT_S = 1.0
"""How long a request waits for a clone before it is turned away."""
RELOAD_S = float(os.environ.get("EDGEEXIT_RELOAD_S", "5"))
"""How often a new calibration of the bundle is looked for."""

Observer = Callable[[edgeexit.Prediction], None]
"""Called with every answer, in the event loop: the place of counters and histograms of a metrics library. It must not block."""


class Pool:
    """Clones of one Runner. A request takes one, alone, or is turned away."""

    def __init__(self, bundle: str, observe: Observer | None) -> None:
        self.bundle = bundle
        self.answers: Counter[int] = Counter()
        self._observe = observe
        self._executor = ThreadPoolExecutor(CLONES)
        self._runner = edgeexit.load(bundle)
        self._all = [self._runner.clone() for _ in range(CLONES)]
        self._free: asyncio.Queue[edgeexit.Runner] = asyncio.Queue()
        for clone in self._all:
            self._free.put_nowait(clone)
        self.spec = self._runner.bundle.manifest.inputs[0]
        if len(self._runner.bundle.manifest.inputs) > 1:
            msg = f"{bundle} has several inputs; this service feeds networks of one."
            raise InputError(msg)

    @property
    def thresholds(self) -> list[float]:
        """Thresholds in force, in the criterion's own unit: of the clone that takes new ones last."""
        return self._all[-1].thresholds

    async def classify(self, samples: np.ndarray) -> list[edgeexit.Prediction]:
        """Answers in the order of the samples, [n, ...].

        Raises:
            HTTPException: 503, no clone became free in time.
            InputError: the samples are not what the network takes.
        """
        try:
            clone = await asyncio.wait_for(self._free.get(), WAIT_S)
        except asyncio.TimeoutError as error:
            raise HTTPException(503, "every clone is busy", {"Retry-After": "1"}) from error
        try:
            found = await self._run(lambda: [clone(samples)] if len(samples) == 1 else clone.batch(samples))
        finally:
            self._free.put_nowait(clone)
        for prediction in found:
            self.answers[prediction.exit] += 1
            if self._observe is not None:
                self._observe(prediction)
        return found

    async def keep_current(self) -> None:
        """Take new calibrations of the bundle as they become active; never returns."""
        while True:
            await asyncio.sleep(RELOAD_S)
            try:
                for clone in self._all:
                    await self._run(clone.reload)
            except EdgeExitError as error:  # the thresholds that are in force stay
                logger.warning("the bundle could not be read again: %s", error)

    async def close(self) -> None:
        """Let requests in progress end, then free the engines."""
        await asyncio.to_thread(self._executor.shutdown)
        for runner in (*self._all, self._runner):
            runner.close()

    async def _run(self, work: Callable[[], Any]) -> Any:
        """In a thread: the runtime computes without holding the interpreter, and the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def create_app(bundle: str | None = None, observe: Observer | None = None) -> FastAPI:
    """The service of a bundle, by default the one in $EDGEEXIT_BUNDLE. It is opened in the worker process, when that starts."""

    @asynccontextmanager
    async def open_pool(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = Pool(bundle or os.environ["EDGEEXIT_BUNDLE"], observe)
        keeping = asyncio.create_task(app.state.pool.keep_current())
        yield
        keeping.cancel()
        await app.state.pool.close()

    app = FastAPI(title="edgeexit", lifespan=open_pool)
    app.add_exception_handler(StarletteHTTPException, _answer_http_error)
    app.add_exception_handler(InputError, _answer_input_error)
    app.add_api_route("/classify", _classify, methods=["POST"])
    app.add_api_route("/health", _tell_health, methods=["GET"])
    return app


async def _classify(request: Request) -> dict[str, Any]:
    pool: Pool = request.app.state.pool
    found = await pool.classify(await _read_samples(request, pool))
    return {"answers": [{"label": p.label, "exit": p.exit, "score": _as_json(p.score)} for p in found]}


async def _tell_health(request: Request) -> dict[str, Any]:
    pool: Pool = request.app.state.pool
    answers = {str(exit): count for exit, count in sorted(pool.answers.items())}
    thresholds = [_as_json(t) for t in pool.thresholds]
    return {"status": "ok", "bundle": pool.bundle, "thresholds": thresholds, "answers": answers}


def _as_json(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)


async def _read_samples(request: Request, pool: Pool) -> np.ndarray:
    """Samples of a request, [n, ...] in the network's dtype, after checks of their number."""
    is_json = request.headers.get("content-type", "").startswith("application/json")
    size = math.prod(pool.spec.shape_at_1) * (JSON_BYTES if is_json else 4)
    body = await _read_body(request, MOST_SAMPLES * size + 1024 * is_json)
    samples = _parse_samples(body, pool.spec, is_json=is_json)
    if len(samples) > MOST_SAMPLES:
        raise HTTPException(413, f"one request may hold {MOST_SAMPLES} samples")
    return samples


def _parse_samples(body: bytes, spec: TensorSpec, *, is_json: bool) -> np.ndarray:
    shape = spec.shape_at_1[1:]
    try:
        read = json.loads(body)["samples"] if is_json else np.frombuffer(body, "<f4").reshape(-1, *shape)
        samples = np.asarray(read, spec.dtype)
    except (ValueError, KeyError, TypeError, RecursionError):
        samples = np.empty(0)
    if samples.ndim == 0 or samples.shape[1:] != shape or not len(samples):
        raise HTTPException(422, f"samples must be numbers of the shape [n, {', '.join(map(str, shape))}]")
    return samples


async def _read_body(request: Request, most: int) -> bytes:
    """The body, of which no more than `most` bytes are ever read."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise HTTPException(413, f"one request may hold {most} bytes: {MOST_SAMPLES} samples")
    return bytes(body)


async def _answer_http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _answer_input_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 422)
