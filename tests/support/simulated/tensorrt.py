"""`tensorrt` 10.3 or 11.4 as far as edgeexit uses it. Engines compute with ONNX Runtime when their stream is waited for."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx.external_data_helper import load_external_data_for_model

from tests.support.simulated.gpu import ALIGNMENT, Gpu, Op
from tests.support.simulated.tensorrt_enums import (
    ENUMERATIONS,
    DataType,
    DeviceType,
    ExecutionContextAllocationStrategy,
    MemoryPoolType,
    Severity,
    TensorIOMode,
)

_MAGIC = b"simulated plan\n"
_NAMES = {"float32": "FLOAT", "float16": "HALF", "int32": "INT32", "int64": "INT64", "int8": "INT8", "bool": "BOOL"}


def tensorrt_module(gpu: Gpu, version: str = "10.3.0", refuses: str | None = None) -> ModuleType:
    """The module, on a GPU.

    Args:
        gpu: the machine.
        version: what it says it is; flags are there as in that version.
        refuses: an ONNX operator that the parser does not know.
    """
    module = ModuleType("tensorrt")
    major = int(version.split(".", maxsplit=1)[0])

    def counted(name: str, by: int) -> None:
        gpu.trt_objects[name] = gpu.trt_objects.get(name, 0) + by

    def said(logger: Any, call: str, otherwise: str = "") -> None:
        if gpu.says.get(call, otherwise):
            logger.log(Severity.ERROR, gpu.says.get(call, otherwise))

    class ILogger:
        Severity = Severity
        INTERNAL_ERROR = Severity.INTERNAL_ERROR
        ERROR = Severity.ERROR
        WARNING = Severity.WARNING

        def __init__(self) -> None:
            self.ready = True

        def log(self, severity: Any, msg: str) -> None:
            raise NotImplementedError

    class IProgressMonitor:
        def __init__(self) -> None:
            self.ready = True

    sources = ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]
    gone = ["CUBLAS", "CUBLAS_LT", "CUDNN"] if major < 11 else []
    TacticSource = enum.IntEnum("TacticSource", [*gone, *sources], start=0)  # type: ignore[misc]

    flags = ["TF32", "GPU_FALLBACK", *(["FP16"] if major < 11 else [])]
    BuilderFlag = enum.Enum("BuilderFlag", flags)  # type: ignore[misc]

    def host_memory(data: bytes) -> Any:
        return bytearray(data)  # has the buffer protocol, as IHostMemory has

    class TimingCache:
        def __init__(self, data: bytes) -> None:
            self.data = data or b"timings:"

        def serialize(self) -> Any:
            return host_memory(self.data)

    class BuilderConfig:
        def __init__(self) -> None:
            self.builder_optimization_level = 3
            self.max_aux_streams = -1
            self.progress_monitor: Any = None
            self.default_device_type = DeviceType.GPU
            self.DLA_core = -1
            self.set: set[Any] = {BuilderFlag["TF32"]}
            self.cache: TimingCache | None = None
            self.workspace: int | None = None
            self.tactic_sources: int | None = None

        def set_flag(self, flag: Any) -> None:
            self.set.add(flag)

        def clear_flag(self, flag: Any) -> None:
            self.set.discard(flag)

        def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
            gpu.need(pool_size > 0, "a pool of no bytes")
            self.workspace = pool_size

        def set_tactic_sources(self, tactic_sources: int) -> bool:
            self.tactic_sources = tactic_sources
            return True

        def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
            return TimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
            gpu.need(not ignore_mismatch, "timings of another device would be used")
            self.cache = cache
            return cache.data.startswith(b"timings:")

    class Tensor:
        def __init__(self, value: onnx.ValueInfoProto) -> None:
            self.name = value.name
            dims = value.type.tensor_type.shape.dim
            self.shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in dims)

    class Network:
        def __init__(self, network_flags: int) -> None:
            self.network_flags = network_flags
            self.model: onnx.ModelProto | None = None

        @property
        def num_inputs(self) -> int:
            assert self.model
            return len(self.model.graph.input)

        @property
        def num_outputs(self) -> int:
            assert self.model
            return len(self.model.graph.output)

        def get_input(self, index: int) -> Tensor:
            assert self.model
            return Tensor(self.model.graph.input[index])

        def get_output(self, index: int) -> Tensor:
            assert self.model
            return Tensor(self.model.graph.output[index])

    class ParserError:
        def __init__(self, node: onnx.NodeProto) -> None:
            self._node = node

        def node_name(self) -> str:
            return self._node.name

        def node_operator(self) -> str:
            return self._node.op_type

        def desc(self) -> str:
            return "no importer registered for the operator"

    class OnnxParser:
        def __init__(self, network: Network, logger: Any) -> None:
            gpu.need(logger.ready, "a logger whose base class was not initialised")
            self._network = network
            self._errors: list[ParserError] = []

        def parse(self, model: bytes, path: str | None = None) -> bool:
            proto = onnx.load_model_from_string(model)
            self._errors = [ParserError(n) for n in proto.graph.node if n.op_type == refuses]
            if gpu.fails("OnnxParser.parse") or self._errors:
                return False
            gpu.need(path is not None, "outside weights cannot be found without the file's path")
            load_external_data_for_model(proto, str(Path(str(path)).parent))
            self._network.model = proto
            return True

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

    class Builder:
        def __init__(self, logger: Any) -> None:
            gpu.need_context("trt.Builder")
            gpu.need(logger.ready, "a logger whose base class was not initialised")
            if gpu.fails("trt.Builder"):
                said(logger, "trt.Builder")
                msg = "pybind11::init(): factory function returned nullptr"
                raise TypeError(msg)
            self._logger = logger

        @property
        def num_DLA_cores(self) -> int:
            return gpu.dla_cores

        def create_network(self, flags: int = 0) -> Network:
            gpu.need(major < 11 or bool(flags & 2), "TensorRT 11 builds strongly typed networks only")
            return Network(flags)

        def create_builder_config(self) -> BuilderConfig:
            return BuilderConfig()

        def build_serialized_network(self, network: Network, config: BuilderConfig) -> Any:
            gpu.need_context("build_serialized_network")
            assert network.model
            strongly = bool(network.network_flags & 2)
            typed = {f.name for f in config.set} & {"FP16"}
            gpu.need(not (strongly and typed), "a precision flag on a strongly typed network")
            gpu.need(BuilderFlag["TF32"] not in config.set, "float32 with TF32 rounding")
            gpu.builds.append(config)
            monitor = config.progress_monitor
            gpu.need(monitor.ready, "a monitor whose base class was not initialised")
            monitor.phase_start("Building", None, 2)
            monitor.phase_start("Timing", "Building", 5)
            gpu.need(monitor.step_complete("Building", 0) is True, "the monitor cancels the build")
            monitor.phase_finish("Timing")
            monitor.phase_finish("Building")
            if gpu.fails("build_serialized_network"):
                said(self._logger, "build_serialized_network", "Error Code 2: OutOfMemory (no further information)")
                return None
            assert config.cache is not None
            config.cache.data += b"."
            about = {"version": version, "typing": "strong" if strongly else "weak"}
            return host_memory(_MAGIC + json.dumps(about).encode() + b"\n" + network.model.SerializeToString())

    class Engine:
        def __init__(self, model: bytes, siblings: dict[str, int], logger: Any) -> None:
            counted("engines", 1)
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
            self.device_memory_size_v2 = 1024 * len(proto.graph.node)
            self.contexts = 0

        def __del__(self) -> None:
            counted("engines", -1)
            self._siblings["engines"] -= 1
            gpu.need(gpu.primary_users > 0, "an engine outlives its context")

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
            gpu.need_context("create_execution_context")
            gpu.need(
                strategy is ExecutionContextAllocationStrategy.USER_MANAGED, "each context with scratch of its own"
            )
            if gpu.fails("create_execution_context"):
                said(self.logger, "create_execution_context")
                return None
            return ExecutionContext(self)

    class ExecutionContext:
        def __init__(self, engine: Engine) -> None:
            counted("contexts", 1)
            self._engine = engine
            self._addresses: dict[str, int] = {}
            self._scratch: tuple[int, int] | None = None
            self._warm = False

        def __del__(self) -> None:
            counted("contexts", -1)
            busy = any(op.owner == id(self) for s in gpu.streams.values() for op in s.pending)
            gpu.need(not busy, "an execution context is destroyed while it runs")

        def set_device_memory(self, memory: int, size: int) -> None:
            gpu.need(memory % ALIGNMENT == 0, "scratch memory that is not aligned")
            gpu.need(size >= self._engine.device_memory_size_v2, "less scratch memory than the engine asked for")
            gpu.at(memory, size)
            self._scratch = (memory, size)

        def set_tensor_address(self, name: str, memory: int) -> bool:
            gpu.need(memory % ALIGNMENT == 0, f"tensor {name} is not aligned")
            gpu.at(memory, self._bytes(name))
            if gpu.fails("set_tensor_address"):
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
            gpu.need(not unset, f"enqueued before the addresses of {unset} were set")
            gpu.need(self._scratch is not None, "enqueued before the scratch memory was set")
            capturing = gpu.stream(stream_handle).capture is not None
            gpu.need(self._warm or not capturing, "the first enqueue of a context is inside a capture")
            if gpu.fails("execute_async_v3"):
                said(self._engine.logger, "execute_async_v3")
                return False
            assert self._scratch is not None
            touches = (self._scratch, *((a, self._bytes(n)) for n, a in self._addresses.items()))
            gpu.enqueue(
                stream_handle, Op("kernel", self._run_with(dict(self._addresses), self._scratch), touches, id(self))
            )
            self._warm = True
            return True

        def _run_with(self, addresses: dict[str, int], scratch: tuple[int, int]) -> Callable[[], None]:
            engine = self._engine

            def run() -> None:
                gpu.at(*scratch)[...] = 0xCC  # who keeps something in the shared scratch finds it overwritten
                feeds = {}
                for name in engine.inputs:
                    there = gpu.at(addresses[name], self._bytes(name))
                    feeds[name] = there.view(self._kind(name)).reshape(engine.get_tensor_shape(name)).copy()
                outputs = [o.name for o in engine.session.get_outputs()]
                for name, value in zip(outputs, engine.session.run(outputs, feeds), strict=True):
                    flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
                    gpu.at(addresses[name], flat.nbytes)[...] = flat

            return run

    class Runtime:
        def __init__(self, logger: Any) -> None:
            gpu.need_context("trt.Runtime")
            if gpu.fails("trt.Runtime"):
                said(logger, "trt.Runtime")
                msg = "pybind11::init(): factory function returned nullptr"
                raise TypeError(msg)
            counted("runtimes", 1)
            self._mine = {"engines": 0}
            self._logger = logger

        def __del__(self) -> None:
            if hasattr(self, "_logger"):
                counted("runtimes", -1)
                gpu.need(not self._mine["engines"], "the runtime is destroyed before its engines")

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            gpu.need_context("deserialize_cuda_engine")
            if gpu.fails("deserialize_cuda_engine") or not serialized_engine.startswith(_MAGIC):
                self._logger.log(Severity.ERROR, "Serialization assertion failed: magic tag does not match")
                return None
            about, model = serialized_engine[len(_MAGIC) :].split(b"\n", 1)
            if json.loads(about)["version"] != version:
                self._logger.log(Severity.ERROR, "Serialization assertion failed: version tag does not match")
                return None
            return Engine(model, self._mine, self._logger)

    found = {name: value for name, value in locals().items() if isinstance(value, type)}
    module.__dict__.update(found, **{kind.__name__: kind for kind in ENUMERATIONS})
    module.__dict__.update(
        __version__=version,
        BuilderFlag=BuilderFlag,
        TacticSource=TacticSource,
        ICudaEngine=Engine,
        IExecutionContext=ExecutionContext,
        IBuilderConfig=BuilderConfig,
        INetworkDefinition=Network,
        ITimingCache=TimingCache,
    )
    return module
