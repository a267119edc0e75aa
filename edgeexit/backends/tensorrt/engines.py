"""Engines of one bundle, opened: from the cache where they are, built where they are not; contexts over one shared scratch memory."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeexit.backends.cuda import CudaDevice, CudaError, DeviceMemory, forget_frames, translate_cuda_errors
from edgeexit.backends.tensorrt.builder import EngineFactory, SerializedEngine
from edgeexit.backends.tensorrt.cache import EngineCache, make_engine_key, select_device_facts
from edgeexit.backends.tensorrt.messages import ErrorLog, start_error
from edgeexit.backends.tensorrt.versions import read_dims, read_installed_version
from edgeexit.bundle import Bundle
from edgeexit.errors import HardwareMissing, InternalError
from edgeexit.hardware.clocks import read_power_mode
from edgeexit.hardware.identity import ROOT

if TYPE_CHECKING:
    import tensorrt

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT32": "int32",
    "INT64": "int64",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
}
"""TensorRT's name of an element type -> NumPy's."""


@dataclass(frozen=True)
class EngineSource:
    """One ONNX file of a bundle to make an engine of: its name in the bundle, and what to call it in messages."""

    file: str
    what: str


@dataclass(frozen=True)
class EngineTensor:
    """One tensor of an engine, as TensorRT sees it at batch 1."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_input: bool


class EngineWarning(UserWarning):
    """An engine that was kept cannot be used, and is rebuilt, which takes a while."""


class Engines:
    """Deserialised engines on one device, shared by a program and its clones; the last one to `release` them frees them.

    Args:
        device: taken over: closed with the engines.
        workshop: what builds the engines.
        bundle: bundle whose ONNX files are built.
        parts: the models to build.

    Raises:
        ModelError, HardwareMissing: an engine cannot be built, with the remedy.
    """

    def __init__(
        self, device: CudaDevice, workshop: EngineFactory, bundle: Bundle, parts: Sequence[EngineSource]
    ) -> None:
        self.device = device
        self.messages: ErrorLog = workshop.messages
        self.tensorrt = ".".join(map(str, read_installed_version()))
        self.bundle = bundle
        self.power_mode = read_power_mode(ROOT)
        self.typings: list[str] = []
        self._workshop = workshop
        facts = select_device_facts(device.facts, self.tensorrt)
        self.cache = EngineCache(facts)
        self.keys = [make_engine_key(bundle, p.file, workshop.options, workshop.precision, facts) for p in parts]
        self._users = 1
        self._sharing = threading.Lock()
        self._runtime: tensorrt.Runtime | None = None
        self._engines: list[tensorrt.ICudaEngine] = []
        with device.active("opening engines"):
            try:
                self._runtime = self._make_runtime()
                for part, key in zip(parts, self.keys, strict=True):
                    self._engines.append(self._open_engine(part, key))
            except BaseException as error:
                forget_frames(error)
                self._free()
                raise

    def _make_runtime(self) -> tensorrt.Runtime:
        import tensorrt as trt

        try:
            runtime = trt.Runtime(self.messages.logger)
        except TypeError as error:  # pybind11's word for a null pointer
            raise start_error(self.messages.errors) from error
        if self._workshop.options.dla_core is not None:  # an engine runs on the core of the runtime that opens it
            runtime.DLA_core = self._workshop.options.dla_core
        return runtime

    def _open_engine(self, part: EngineSource, key: str) -> tensorrt.ICudaEngine:
        """Load an engine from the cache; build it if it is missing or TensorRT rejects it."""
        plan = self.cache.plan(key)
        engine = self._deserialize(plan) if plan is not None else None
        if plan is not None and engine is None:
            msg = f"TensorRT refuses the engine of {part.what} in the cache ({self.messages.last}): it is rebuilt."
            warnings.warn(msg, EngineWarning, stacklevel=2)
        if plan is None or engine is None:
            self.cache.forget(key)
            plan = self._build_engine(part, key)
            engine = self._deserialize(plan)
        if engine is None:
            msg = f"TensorRT refuses the engine of {part.what} that it just built ({self.messages.last}). Please report it with the model."
            raise InternalError(msg)
        self.typings.append(plan.typing)
        return engine

    def _build_engine(self, part: EngineSource, key: str) -> SerializedEngine:
        with self.cache.building():
            plan = self.cache.plan(key)  # another process may have built it while this one waited
            if plan is None:
                file = self.bundle.file(part.file)
                plan, timings = self._workshop.build(file, part.what, self.cache.timings)
                self.cache.keep_timings(timings)
                self.cache.keep(key, plan, {"of": part.what, "tensorrt": self.tensorrt})
        return plan

    def _deserialize(self, plan: SerializedEngine) -> tensorrt.ICudaEngine | None:
        assert self._runtime is not None
        self.messages.clear()
        return self._runtime.deserialize_cuda_engine(plan.data)  # type: ignore[no-any-return, unused-ignore]

    def __len__(self) -> int:
        return len(self._engines)

    def slots(self, index: int) -> tuple[EngineTensor, ...]:
        """The tensors of an engine."""
        import tensorrt as trt

        engine = self._engines[index]
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        is_input = trt.TensorIOMode.INPUT
        return tuple(
            EngineTensor(
                name,
                read_dims(engine.get_tensor_shape(name)),
                DTYPES[engine.get_tensor_dtype(name).name],
                engine.get_tensor_mode(name) == is_input,
            )
            for name in names
        )

    def list_layers(self, index: int) -> list[str]:
        """Layers of an engine, as the builder fused them."""
        import tensorrt as trt

        inspector = self._engines[index].create_engine_inspector()
        count = self._engines[index].num_layers
        oneline = trt.LayerInformationFormat.ONELINE
        return [inspector.get_layer_information(layer, oneline).strip() for layer in range(count)]

    @property
    def scratch_bytes(self) -> tuple[int, ...]:
        """Scratch memory that each engine needs while it runs."""
        return tuple(int(engine.device_memory_size_v2) for engine in self._engines)

    def contexts(self, memory: DeviceMemory) -> list[ExecutionContext]:
        """One execution context per engine, all over one scratch of the size of the largest: they run one after the other on one stream."""
        import tensorrt as trt

        size = max(self.scratch_bytes)
        scratch = memory.device(size)
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        made: list[ExecutionContext] = []
        for engine in self._engines:
            raw = engine.create_execution_context(strategy)
            if raw is None:
                msg = (
                    f"TensorRT makes no execution context ({self.messages.last}): the GPU's memory is probably full. Close other programs"
                    " that use the GPU, or load fewer runners."
                )
                raise HardwareMissing(msg)
            context = ExecutionContext(raw, self.messages)
            memory.when_closed(context.close)  # before the scratch, which was allocated earlier
            raw.set_device_memory(scratch, max(size, 1))
            made.append(context)
        return made

    def share(self) -> Engines:
        """Share the engines with another program."""
        with self._sharing:
            self._users += 1
        return self

    def release(self) -> None:
        """Release the engines; the last user frees them and the device."""
        with self._sharing:
            self._users -= 1
            last = self._users == 0
        if last:
            with self.device.active("freeing engines"):
                self._free()
            self.device.close()

    def _free(self) -> None:
        """Engines before the runtime that made them."""
        self._engines.clear()
        self._runtime = None


class ExecutionContext:
    """One execution context: addresses set once, then enqueued."""

    def __init__(self, context: tensorrt.IExecutionContext, messages: ErrorLog) -> None:
        self._context: tensorrt.IExecutionContext | None = context
        self._messages = messages

    def bind(self, addresses: Iterable[tuple[str, int]]) -> None:
        """Tell it where its tensors lie."""
        assert self._context is not None
        for name, address in addresses:
            if not self._context.set_tensor_address(name, address):
                msg = f"TensorRT refuses the address of tensor {name!r} ({self._messages.last}). Please report it with the model."
                raise InternalError(msg)

    def enqueue(self, stream: int) -> None:
        """Put the engine's work onto a stream.

        Raises:
            CudaRefusal: TensorRT refused, with its reason; in a capture this means that the engine cannot be captured.
        """
        assert self._context is not None
        if not self._context.execute_async_v3(stream):
            raise CudaError("execute_async_v3", self._messages.last)

    def close(self) -> None:
        """Free it; may be called twice."""
        self._context = None


def open_device(*, spin: bool) -> CudaDevice:
    """The GPU, for TensorRT."""
    with translate_cuda_errors("opening the GPU"):
        return CudaDevice(spin=spin)
