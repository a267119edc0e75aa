"""A small server of the Open Inference Protocol (V2) on loopback, with the stages of a bundle; it can be made to misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import onnxruntime

from edgeexit.bundle import Bundle

TYPES = {"FP32": "float32", "FP16": "float16", "INT64": "int64"}
HEADER_LENGTH = "Inference-Header-Content-Length"


class V2Server(ThreadingHTTPServer):
    """Models `stage-K` of a bundle.

    Attributes:
        delay_s: time before each answer.
        answer: an answer instead of the model's: status and body.
        drops_connections: whether it closes each connection after an answer, without having said so.
        binary: whether tensors are answered in binary, else in JSON.
        seen: headers of every request.
    """

    daemon_threads = True

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay_s, self.answer, self.binary, self.drops_connections = 0.0, (0, b""), True, False
        self.seen: list[dict[str, str]] = []
        self.sessions = {
            f"stage-{stage.exit}": onnxruntime.InferenceSession(bundle.file(stage.file))
            for stage in bundle.manifest.stages
        }

    def handle_error(self, *_arguments: object) -> None:
        """Say nothing: clients go away on purpose."""

    def url(self, stage: int) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v2/models/stage-{stage}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: V2Server

    def do_POST(self) -> None:
        self.server.seen.append(dict(self.headers))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.delay_s)
        status, fixed = self.server.answer
        content, length = (fixed, None) if status else self._run(body)
        self.send_response(status or 200)
        self.send_header("Content-Length", str(len(content)))
        if length is not None:
            self.send_header(HEADER_LENGTH, str(length))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection |= self.server.drops_connections

    def _run(self, body: bytes) -> tuple[bytes, int | None]:
        start = int(self.headers[HEADER_LENGTH])
        asked = json.loads(body[:start])
        feeds = {}
        for entry in asked["inputs"]:
            end = start + entry["parameters"]["binary_data_size"]
            feeds[entry["name"]] = np.frombuffer(body[start:end], TYPES[entry["datatype"]]).reshape(entry["shape"])
            start = end
        names = [entry["name"] for entry in asked["outputs"]]
        made = self.server.sessions[self.path.split("/")[3]].run(names, feeds)
        return self._pack(dict(zip(names, made, strict=True)))

    def _pack(self, arrays: dict[str, Any]) -> tuple[bytes, int | None]:
        """One number per sample has the shape [n, 1], as in Triton."""
        full = {name: a[:, None] if a.ndim == 1 else a for name, a in arrays.items()}
        entries = [
            {"name": name, "shape": list(a.shape), "datatype": "FP32", **self._describe_data(a)}
            for name, a in full.items()
        ]
        text = json.dumps({"outputs": entries}).encode()
        if not self.server.binary:
            return text, None
        return b"".join((text, *(a.tobytes() for a in full.values()))), len(text)

    def _describe_data(self, array: Any) -> dict[str, Any]:
        if self.server.binary:
            return {"parameters": {"binary_data_size": array.nbytes}}
        return {"data": array.ravel().tolist()}

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serve_stages(bundle: Bundle) -> Iterator[V2Server]:
    """The server, in threads of this process."""
    server = V2Server(bundle)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
