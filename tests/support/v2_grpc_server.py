"""A small server of the Open Inference Protocol over gRPC on loopback, from the real protobuf, with the stages of a bundle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnxruntime

from edgeexit.bundle import Bundle, StageEntry
from edgeexit.runtime.remote.wire import expand

TYPES = {"FP32": "float32", "FP16": "float16", "INT8": "int8"}


class GrpcServer:
    """Models `stage-K` of a bundle.

    Attributes:
        port: where it listens.
        answer: an answer instead of the model's.
        held: requests wait while it is clear.
        seen: the metadata of every request, and the element types of its inputs.
    """

    def __init__(self, bundle: Bundle, port: int = 0, tls: tuple[bytes, bytes] | None = None) -> None:
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        self._messages = service_pb2
        self._stages = {
            f"stage-{s.exit}": (s, onnxruntime.InferenceSession(bundle.file(s.file))) for s in bundle.manifest.stages
        }
        self.answer: Any = None
        self.held = threading.Event()
        self.held.set()
        self.seen: list[tuple[dict[str, str], set[str]]] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        servicer = type("Servicer", (service_pb2_grpc.GRPCInferenceServiceServicer,), {"ModelInfer": self._infer})
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer(), self._server)
        address = f"localhost:{port}"
        if tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([tls]))
        self._server.start()

    def url(self, stage: int, scheme: str = "grpc") -> str:
        return f"{scheme}://localhost:{self.port}/stage-{stage}"

    def end(self) -> None:
        self.held.set()
        self._server.stop(None).wait()

    def _infer(self, request: Any, context: Any) -> Any:
        self.seen.append((dict(context.invocation_metadata()), {i.datatype for i in request.inputs}))
        self.held.wait()
        if self.answer is not None:
            return self.answer
        stage, session = self._stages[request.model_name]
        received = {
            i.name: np.frombuffer(raw, TYPES[i.datatype]).reshape(i.shape)
            for i, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        names = [output.name for output in request.outputs]
        made = session.run(names, expand(received, _list_inputs(stage)))
        return self.pack(dict(zip(names, made, strict=True)))

    def pack(self, arrays: dict[str, Any], datatype: str = "FP32") -> Any:
        """A response; one number per sample has the shape [n, 1], as in Triton."""
        response = self._messages.ModelInferResponse()
        for name, array in arrays.items():
            shape = (*array.shape, 1) if array.ndim == 1 else array.shape
            response.outputs.add(name=name, datatype=datatype, shape=shape)
            response.raw_output_contents.append(array.tobytes())
        return response


def _list_inputs(stage: StageEntry) -> tuple[Any, ...]:
    return tuple(stage.boundaries_in)


@contextmanager
def serve_stages_over_grpc(bundle: Bundle, **options: Any) -> Iterator[GrpcServer]:
    """The server, in threads of this process."""
    server = GrpcServer(bundle, **options)
    try:
        yield server
    finally:
        server.end()
