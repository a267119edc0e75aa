"""What runs engines in the simulated `tensorrt`; they compute with ONNX Runtime when their stream is waited for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tests.support.simulated.gpu import ALIGNMENT, Op
from tests.support.simulated.tensorrt_builder import MAGIC, OnMachine
from tests.support.simulated.tensorrt_enums import (
    DataType,
    ExecutionContextAllocationStrategy,
    LayerInformationFormat,
    Severity,
    TensorIOMode,
)

_NAMES = {"float32": "FLOAT", "float16": "HALF", "int32": "INT32", "int64": "INT64", "int8": "INT8", "bool": "BOOL"}


class EngineInspector:
    """What tells of an engine's layers."""

    def __init__(self, nodes: list[str]) -> None:
        self._nodes = nodes

    def get_layer_information(self, layer_index: int, format: LayerInformationFormat) -> str:
        return f"{self._nodes[layer_index]}\n"


class Engine(OnMachine):
    """An engine; computes with ONNX Runtime."""

    def __init__(self, model: bytes, siblings: dict[str, int], logger: Any) -> None:
        self._machine.count("engines", 1)
        self.logger = logger
        self._siblings = siblings
        siblings["engines"] += 1
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        proto = onnx.load_model_from_string(model)
        self.values = {v.name: v for v in (*proto.graph.input, *proto.graph.output)}
        self.inputs = [v.name for v in proto.graph.input]
        self.nodes = [f"{node.op_type} {node.name}" for node in proto.graph.node]
        self.device_memory_size_v2 = 1024 * len(proto.graph.node)
        self.contexts = 0

    def __del__(self) -> None:
        self._machine.count("engines", -1)
        self._siblings["engines"] -= 1
        self._machine.gpu.need(self._machine.gpu.primary_users > 0, "an engine outlives its context")

    @property
    def num_layers(self) -> int:
        return len(self.nodes)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self.nodes)

    @property
    def num_io_tensors(self) -> int:
        return len(self.values)

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.values)[index])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(d.dim_value for d in self.values[name].type.tensor_type.shape.dim)

    def get_tensor_dtype(self, name: str) -> DataType:
        kind = onnx.helper.tensor_dtype_to_np_dtype(self.values[name].type.tensor_type.elem_type)
        return DataType[_NAMES[str(kind)]]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def create_execution_context(self, strategy: ExecutionContextAllocationStrategy) -> Any:
        self._machine.gpu.need_context("create_execution_context")
        self._machine.gpu.need(
            strategy is ExecutionContextAllocationStrategy.USER_MANAGED, "each context with scratch of its own"
        )
        if self._machine.gpu.fails("create_execution_context"):
            self._machine.say(self.logger, "create_execution_context")
            return None
        return self._machine.kinds["ExecutionContext"](self)


class ExecutionContext(OnMachine):
    """An engine's state of execution."""

    def __init__(self, engine: Engine) -> None:
        self._machine.count("contexts", 1)
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._scratch: tuple[int, int] | None = None
        self._warm = False

    def __del__(self) -> None:
        self._machine.count("contexts", -1)
        busy = any(op.owner == id(self) for s in self._machine.gpu.streams.values() for op in s.pending)
        self._machine.gpu.need(not busy, "an execution context is destroyed while it runs")

    def set_device_memory(self, memory: int, size: int) -> None:
        self._machine.gpu.need(memory % ALIGNMENT == 0, "scratch memory that is not aligned")
        self._machine.gpu.need(
            size >= self._engine.device_memory_size_v2, "less scratch memory than the engine asked for"
        )
        self._machine.gpu.at(memory, size)
        self._scratch = (memory, size)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._machine.gpu.need(memory % ALIGNMENT == 0, f"tensor {name} is not aligned")
        self._machine.gpu.at(memory, self._bytes(name))
        if self._machine.gpu.fails("set_tensor_address"):
            return False
        self._addresses[name] = memory
        return True

    def _bytes(self, name: str) -> int:
        kind = np.dtype(self._kind(name))
        return int(np.prod(self._engine.get_tensor_shape(name)) * kind.itemsize)

    def _kind(self, name: str) -> Any:
        return onnx.helper.tensor_dtype_to_np_dtype(self._engine.values[name].type.tensor_type.elem_type)

    def execute_async_v3(self, stream_handle: int) -> bool:
        unset = set(self._engine.values) - set(self._addresses)
        self._machine.gpu.need(not unset, f"enqueued before the addresses of {unset} were set")
        self._machine.gpu.need(self._scratch is not None, "enqueued before the scratch memory was set")
        capturing = self._machine.gpu.stream(stream_handle).capture is not None
        self._machine.gpu.need(self._warm or not capturing, "the first enqueue of a context is inside a capture")
        if self._machine.gpu.fails("execute_async_v3"):
            self._machine.say(self._engine.logger, "execute_async_v3")
            return False
        assert self._scratch is not None
        touches = (self._scratch, *((a, self._bytes(n)) for n, a in self._addresses.items()))
        self._machine.gpu.enqueue(
            stream_handle, Op("kernel", self._run_with(dict(self._addresses), self._scratch), touches, id(self))
        )
        self._warm = True
        return True

    def _run_with(self, addresses: dict[str, int], scratch: tuple[int, int]) -> Callable[[], None]:
        engine = self._engine

        def run() -> None:
            self._machine.gpu.at(*scratch)[...] = 0xCC  # who keeps something in the shared scratch finds it overwritten
            feeds = {}
            for name in engine.inputs:
                there = self._machine.gpu.at(addresses[name], self._bytes(name))
                feeds[name] = there.view(self._kind(name)).reshape(engine.get_tensor_shape(name)).copy()
            outputs = [o.name for o in engine.session.get_outputs()]
            for name, value in zip(outputs, engine.session.run(outputs, feeds), strict=True):
                flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
                self._machine.gpu.at(addresses[name], flat.nbytes)[...] = flat

        return run


class Runtime(OnMachine):
    """What reads engines."""

    def __init__(self, logger: Any) -> None:
        self._machine.gpu.need_context("trt.Runtime")
        if self._machine.gpu.fails("trt.Runtime"):
            self._machine.say(logger, "trt.Runtime")
            msg = "pybind11::init(): factory function returned nullptr"
            raise TypeError(msg)
        self._machine.count("runtimes", 1)
        self._mine = {"engines": 0}
        self._logger = logger

    def __del__(self) -> None:
        if hasattr(self, "_logger"):
            self._machine.count("runtimes", -1)
            self._machine.gpu.need(not self._mine["engines"], "the runtime is destroyed before its engines")

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        self._machine.gpu.need_context("deserialize_cuda_engine")
        if self._machine.gpu.fails("deserialize_cuda_engine") or not serialized_engine.startswith(MAGIC):
            self._logger.log(Severity.ERROR, "Serialization assertion failed: magic tag does not match")
            return None
        about, model = serialized_engine[len(MAGIC) :].split(b"\n", 1)
        if json.loads(about)["version"] != self._machine.version:
            self._logger.log(Severity.ERROR, "Serialization assertion failed: self._machine.version tag does not match")
            return None
        return self._machine.kinds["Engine"](model, self._mine, self._logger)
