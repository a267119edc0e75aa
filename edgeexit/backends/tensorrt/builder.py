"""From the ONNX file of one stage to a serialised engine ("plan") for this device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from edgeexit.backends.tensorrt.messages import ErrorLog, build_error, monitor, parse_error
from edgeexit.backends.tensorrt.options import BuildOptions
from edgeexit.backends.tensorrt.versions import NetworkTyping, list_typings, read_dims
from edgeexit.errors import EdgeExitError, HardwareMissing, InputError, ModelError, did_you_mean
from edgeexit.graph.onnx_files import load_binary
from edgeexit.util.progress import Progress, show_nothing

if TYPE_CHECKING:
    import tensorrt


@dataclass(frozen=True)
class SerializedEngine:
    """A serialised engine, and which `NetworkTyping` it was built with."""

    data: bytes
    typing: str


@dataclass(frozen=True)
class EngineFactory:
    """State that all builds for one device share.

    Attributes:
        messages: collector of TensorRT's log messages.
        options: build options.
        precision: precision of the networks.
        progress: callback with what is being done, how much is done, and of how much.
    """

    messages: ErrorLog
    options: BuildOptions
    precision: str
    progress: Progress = show_nothing

    def build(self, file: Path, what: str, timings: bytes) -> tuple[SerializedEngine, bytes]:
        """Build one ONNX file; the device's context must be current.

        Args:
            file: the ONNX file; outside weights lie beside it.
            what: it is, for messages and progress, such as `stage 2`.
            timings: the timing cache of this device and version as earlier builds left it, or nothing.

        Returns:
            the plan, and the timing cache after it.

        Raises:
            ModelError: an operator that TensorRT does not have, dynamic shapes.
            HardwareMissing: out of memory, no GPU.
        """
        model = fix_batch_at_one(file).SerializeToString()
        refusal: EdgeExitError | None = None
        for typing in list_typings(self.precision, dla=self.options.dla_core is not None):
            self.messages.clear()
            try:
                return self._build_typed(model, file, what, timings, typing)
            except HardwareMissing:
                raise
            except EdgeExitError as error:
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    def _build_typed(
        self, model: bytes, file: Path, what: str, timings: bytes, typing: NetworkTyping
    ) -> tuple[SerializedEngine, bytes]:
        import tensorrt as trt

        builder = self._builder(what)
        network = builder.create_network(typing.network_flags)
        parser = trt.OnnxParser(network, self.messages.logger)
        if not parser.parse(model, str(file)):
            raise parse_error(what, parser)
        _check_shapes(network, what)
        config = self._config(builder, typing, what)
        cache = config.create_timing_cache(timings)
        if not config.set_timing_cache(cache, False):  # made by another device or version: start with none
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, False)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise build_error(what, self.messages.errors)
        return SerializedEngine(bytes(memoryview(plan)), typing.name), bytes(memoryview(cache.serialize()))

    def _builder(self, what: str) -> tensorrt.Builder:
        import tensorrt as trt

        try:
            return trt.Builder(self.messages.logger)
        except TypeError as error:  # pybind11's word for a null pointer: TensorRT found no driver or no memory
            raise build_error(what, self.messages.errors or [str(error)]) from error

    def _config(self, builder: tensorrt.Builder, typing: NetworkTyping, what: str) -> tensorrt.IBuilderConfig:
        import tensorrt as trt

        options = self.options
        config = builder.create_builder_config()
        config.builder_optimization_level = options.optimization_level
        config.max_aux_streams = options.aux_streams
        config.progress_monitor = monitor(f"building {what}", self.progress)
        config.clear_flag(trt.BuilderFlag.TF32)
        for name in (*typing.builder_flags, *(["TF32"] if options.tf32 else [])):
            config.set_flag(getattr(trt.BuilderFlag, name))
        if options.workspace_bytes is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
        if options.tactic_sources is not None:
            config.set_tactic_sources(make_tactic_mask(options.tactic_sources))
        if options.dla_core is not None:
            self._put_on_dla(builder, config, options.dla_core)
        return config

    def _put_on_dla(self, builder: tensorrt.Builder, config: tensorrt.IBuilderConfig, core: int) -> None:
        import tensorrt as trt

        if builder.num_DLA_cores <= core:
            version = trt.__version__
            msg = (
                f"TensorRT {version} offers {builder.num_DLA_cores} DLA cores on this board: leave dla_core out to use the GPU. DLAs are"
                " served up to TensorRT 10.7, and on AGX Orin from 11.4.1 on."
            )
            raise HardwareMissing(msg)
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def make_tactic_mask(names: Sequence[str]) -> int:
    """TensorRT's bit mask of libraries to draw kernels from.

    Raises:
        InputError: this version does not have one of them.
    """
    import tensorrt as trt

    known = trt.TacticSource.__members__
    unknown = [f"{n.lower()!r}.{did_you_mean(n, known)}" for n in names if n not in known]
    if unknown:
        msg = f"TensorRT {trt.__version__} has no tactic source {' '.join(unknown)} It has: {', '.join(known).lower()}."
        raise InputError(msg)
    return sum(1 << int(known[name]) for name in set(names))


def fix_batch_at_one(file: Path) -> onnx.ModelProto:
    """The model with its free first dimension at 1 and a name for every node, by which TensorRT speaks of it.

    Outside weights stay outside.
    """
    model = load_binary(file)
    for node in model.graph.node:
        node.name = node.name or next(filter(None, node.output), "")
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim[:1]:
            if not dim.dim_value:
                dim.Clear()
                dim.dim_value = 1
    return model


def _check_shapes(network: tensorrt.INetworkDefinition, what: str) -> None:
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    free = [f"{t.name}{list(read_dims(t.shape))}" for t in tensors if any(d < 0 for d in read_dims(t.shape))]
    if free:
        msg = f"{what} has dynamic shapes ({', '.join(free)}); engines here are of fixed shape. Export the network with fixed sizes."
        raise ModelError(msg)
