"""The FastAPI example as a real server process: the Runner's answers, and an error in JSON for whatever is no input."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeexit.backends import Settings
from edgeexit.bundle import Bundle
from edgeexit.hardware import find_device_key
from tests.examples.conftest import EXAMPLES, Answered

pytest.importorskip("fastapi", reason="fastapi is not installed: make examples")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: make examples")

SERVICE = EXAMPLES / "service"


class Server:
    """A server process and how to ask it."""

    def __init__(self, bundle: Path) -> None:
        words = ["--app-dir", str(SERVICE), "--factory", "app:create_app", "--port", "0"]
        settings = {"EDGEEXIT_BUNDLE": str(bundle), "EDGEEXIT_RELOAD_S": "0.1", "EDGEEXIT_MOST_SAMPLES": "100"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *words], env=os.environ | settings, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if found := re.search(r"running on http://127.0.0.1:(\d+)", line):
                self.port = int(found[1])
                return
        pytest.fail("the server did not start: " + "".join(lines))

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/octet-stream") -> tuple[int, Any]:
        """Status and JSON of an answer; POST where there is a body."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=600)) as connection:
            connection.request("GET" if body is None else "POST", path, body, {"Content-Type": kind})
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def close(self) -> None:
        """Kill it, if it is still alive."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server(answered: Answered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of a bundle of its own."""
    bundle = shutil.copytree(answered.bundle, tmp_path_factory.mktemp("service") / "digits.eexit")
    server = Server(bundle)
    yield server
    server.close()


def test_the_service_answers_as_the_runner_does(server: Server, answered: Answered) -> None:
    """Every digit, sent in tens by several clients at once, and one alone as JSON; health counts the answers by exit."""
    before = server.ask("/health")[1]["answers"]

    def classify(part: np.ndarray) -> list[dict[str, float]]:
        status, found = server.ask("/classify", part.tobytes())
        assert 200 == status, found
        return list(found["answers"])

    with ThreadPoolExecutor(2) as clients:
        parts = [answered.inputs[i : i + 10] for i in range(0, 500, 10)]
        rows = [row for part in clients.map(classify, parts) for row in part]
    answered.compare([(row["label"], row["exit"], -row["score"]) for row in rows])

    alone = json.dumps({"samples": answered.inputs[:1].tolist()}).encode()
    assert (200, {"answers": [rows[0]]}) == server.ask("/classify", alone, "application/json")
    counts = {str(k): answered.exits.count(k) + before.get(str(k), 0) + (answered.exits[0] == k) for k in (1, 2)}
    assert counts == server.ask("/health")[1]["answers"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (bytes(4 * 784 * 101), "application/octet-stream", 413),
        (b"", "application/octet-stream", 422),
        (bytes(7), "application/octet-stream", 422),
        (np.full(784, np.nan, np.float32).tobytes(), "application/octet-stream", 422),
        (b'{"samples": [[1, 2]]}', "application/json", 422),
        (b'{"samples": [[1], [2, 3]]}', "application/json", 422),
        (b'{"samples": 3}', "application/json", 422),
        (b'{"other": []}', "application/json", 422),
        (b'"samples"', "application/json", 422),
        (b"\x80\x04N.", "application/json", 422),
    ],
)
def test_what_is_no_input_is_answered_with_an_error_in_json(
    server: Server, body: bytes, kind: str, status: int
) -> None:
    """Too much, nothing, half a number, NaN, another shape, no JSON: never a 500, and the server goes on."""
    found, answer = server.ask("/classify", body, kind)

    assert status == found
    assert list(answer) == ["error"]
    assert (404, {"error": "Not Found"}) == server.ask("/elsewhere")
    assert 200 == server.ask("/health")[0]


def test_the_service_takes_a_calibration_that_became_active(answered: Answered, server: Server) -> None:
    """Without a restart; and it ends by itself when it is asked to."""
    bundle = Bundle.open(Path(server.ask("/health")[1]["bundle"]))
    never = {"schema": "edgeexit.calibration/1", "inner_thresholds": ["inf"], "settings": {"mode": "staged"}}
    bundle.write_calibration(Settings(mode="staged").key(find_device_key()), never)

    end = time.monotonic() + 600
    while server.ask("/health")[1]["thresholds"] != ["-inf"] and time.monotonic() < end:
        time.sleep(0.05)
    found = server.ask("/classify", answered.inputs[:100].tobytes())[1]["answers"]
    assert {2} == {row["exit"] for row in found}

    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(600) in (0, -signal.SIGTERM)


def test_a_request_is_turned_away_while_every_clone_is_busy(answered: Answered) -> None:
    """With 503 and when to come again, rather than queueing without end; observers see the answers."""
    app = load_app()
    app.WAIT_S = 0.01
    seen: list[int] = []

    async def ask() -> int:
        pool = app.Pool(str(answered.bundle), lambda prediction: seen.append(prediction.exit))
        await pool.classify(answered.inputs[:3])
        while not pool._free.empty():
            pool._free.get_nowait()
        with pytest.raises(app.HTTPException) as refused:
            await pool.classify(answered.inputs[:1])
        await pool.close()
        assert {"Retry-After": "1"} == refused.value.headers
        return int(refused.value.status_code)

    assert 503 == asyncio.run(ask())
    assert answered.exits[:3] == seen


def load_app() -> Any:
    """The module of the example."""
    spec = importlib.util.spec_from_file_location("app", SERVICE / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
