"""What builds engines in the simulated `tensorrt`: network, parser, configuration, builder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import onnx
from onnx.external_data_helper import load_external_data_for_model

from tests.support.simulated.tensorrt_enums import (
    DeviceType,
    MemoryPoolType,
    Severity,
)

if TYPE_CHECKING:
    from tests.support.simulated.tensorrt import Machine

MAGIC = b"simulated plan\n"


class OnMachine:
    """What belongs to one machine: each has copies of these classes, bound to it."""

    _machine: ClassVar[Machine]


class ILogger:
    """Base of a user's logger."""

    Severity = Severity
    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING

    def __init__(self) -> None:
        self.ready = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    """Base of a user's progress monitor."""

    def __init__(self) -> None:
        self.ready = True


class TimingCache:
    """Timings of kernels."""

    def __init__(self, data: bytes) -> None:
        self.data = data or b"timings:"

    def serialize(self) -> Any:
        return bytearray(self.data)


class BuilderConfig(OnMachine):
    """How to build."""

    def __init__(self) -> None:
        self.builder_optimization_level = 3
        self.max_aux_streams = -1
        self.progress_monitor: Any = None
        self.default_device_type = DeviceType.GPU
        self.DLA_core = -1
        self.set: set[Any] = {self._machine.flags["TF32"]}
        self.cache: TimingCache | None = None
        self.workspace: int | None = None
        self.tactic_sources: int | None = None

    def set_flag(self, flag: Any) -> None:
        self.set.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self.set.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self._machine.gpu.need(pool_size > 0, "a pool of no bytes")
        self.workspace = pool_size

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self.tactic_sources = tactic_sources
        return True

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        return TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self._machine.gpu.need(not ignore_mismatch, "timings of another device would be used")
        self.cache = cache
        return cache.data.startswith(b"timings:")


class Tensor:
    """An input or output of a network."""

    def __init__(self, value: onnx.ValueInfoProto) -> None:
        self.name = value.name
        dims = value.type.tensor_type.shape.dim
        self.shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in dims)


class Network:
    """A network as parsed."""

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
    """Why a node cannot be parsed."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self._node = node

    def node_name(self) -> str:
        return self._node.name

    def node_operator(self) -> str:
        return self._node.op_type

    def desc(self) -> str:
        return "no importer registered for the operator"


class OnnxParser(OnMachine):
    """The parser."""

    def __init__(self, network: Network, logger: Any) -> None:
        self._machine.gpu.need(logger.ready, "a logger whose base class was not initialised")
        self._network = network
        self._errors: list[ParserError] = []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        proto = onnx.load_model_from_string(model)
        self._errors = [ParserError(n) for n in proto.graph.node if n.op_type == self._machine.refuses]
        if self._machine.gpu.fails("OnnxParser.parse") or self._errors:
            return False
        self._machine.gpu.need(path is not None, "outside weights cannot be found without the file's path")
        load_external_data_for_model(proto, str(Path(str(path)).parent))
        self._network.model = proto
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class Builder(OnMachine):
    """The builder."""

    def __init__(self, logger: Any) -> None:
        self._machine.gpu.need_context("trt.Builder")
        self._machine.gpu.need(logger.ready, "a logger whose base class was not initialised")
        if self._machine.gpu.fails("trt.Builder"):
            self._machine.say(logger, "trt.Builder")
            msg = "pybind11::init(): factory function returned nullptr"
            raise TypeError(msg)
        self._logger = logger

    @property
    def num_DLA_cores(self) -> int:
        return self._machine.gpu.dla_cores

    def create_network(self, flags: int = 0) -> Network:
        self._machine.gpu.need(
            self._machine.major < 11 or bool(flags & 2), "TensorRT 11 builds strongly typed networks only"
        )
        return Network(flags)

    def create_builder_config(self) -> Any:
        return self._machine.kinds["BuilderConfig"]()

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> Any:
        self._machine.gpu.need_context("build_serialized_network")
        assert network.model
        strongly = bool(network.network_flags & 2)
        typed = {f.name for f in config.set} & {"FP16"}
        self._machine.gpu.need(not (strongly and typed), "a precision flag on a strongly typed network")
        self._machine.gpu.need(self._machine.flags["TF32"] not in config.set, "float32 with TF32 rounding")
        self._machine.gpu.builds.append(config)
        monitor = config.progress_monitor
        self._machine.gpu.need(monitor.ready, "a monitor whose base class was not initialised")
        monitor.phase_start("Building", None, 2)
        monitor.phase_start("Timing", "Building", 5)
        self._machine.gpu.need(monitor.step_complete("Building", 0) is True, "the monitor cancels the build")
        monitor.phase_finish("Timing")
        monitor.phase_finish("Building")
        if self._machine.gpu.fails("build_serialized_network"):
            self._machine.say(
                self._logger, "build_serialized_network", "Error Code 2: OutOfMemory (no further information)"
            )
            return None
        assert config.cache is not None
        config.cache.data += b"."
        about = {"version": self._machine.version, "typing": "strong" if strongly else "weak"}
        return bytearray(MAGIC + json.dumps(about).encode() + b"\n" + network.model.SerializeToString())
