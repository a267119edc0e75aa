"""TensorRT on NVIDIA devices: one engine per stage, built on the device and kept in a private cache; the exit decided by host or GPU.

    staged   the host decides: (a) enqueue, wait, compare; or (b) the same with one captured graph per stage, whichever was faster here
    fused    the GPU decides: (c) one CUDA graph with nested conditional nodes; falls back to (b) or (a), and says why

Not used: TensorRT's own conditionals (ONNX If). They evaluate both branches or wait for the host in between, and cannot be captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from onnx import TensorProto

from edgeexit.backends.base import Backend, Batch, Program, Settings, StagedProgram
from edgeexit.backends.build_progress import get_build_progress
from edgeexit.backends.self_check import SelfCheck
from edgeexit.backends.tensorrt.builder import EngineFactory
from edgeexit.backends.tensorrt.engines import Engines, EngineSource, EngineWarning, open_device
from edgeexit.backends.tensorrt.messages import ErrorLog
from edgeexit.backends.tensorrt.options import BuildOptions, parse_options
from edgeexit.backends.tensorrt.programs import (
    DeciderWarning,
    TensorRtBackbone,
    TensorRtBatch,
    TensorRtFused,
    TensorRtStaged,
)
from edgeexit.backends.tensorrt.selfchecks import run_self_checks
from edgeexit.backends.tensorrt.versions import check_version, read_installed_version
from edgeexit.bundle import Bundle
from edgeexit.errors import HardwareMissing, InputError, MissingExtra
from edgeexit.graph.onnx_files import load_binary
from edgeexit.hardware import find_current_profile
from edgeexit.hardware.identity import find_package_version
from edgeexit.stage_choices import list_distinct_names

_TEGRA = Path("/etc/nv_tegra_release")


def check_tensorrt() -> None:
    """Check that tensorrt is installed, loads, and is of a version that this backend knows.

    Raises:
        MissingExtra: it is not installed.
        HardwareMissing: it is of another version, or its libraries or the driver are missing.
    """
    if find_spec("tensorrt") is None:
        if _TEGRA.exists():
            msg = (
                "TensorRT is not visible here. On Jetson it comes with JetPack for the system's Python: sudo apt install"
                " python3-libnvinfer, then make the virtual environment with: python3 -m venv --system-site-packages .venv"
            )
            raise HardwareMissing(msg)
        raise MissingExtra("tensorrt", "tensorrt")
    try:
        import tensorrt  # noqa: F401 - whether it loads is the question
    except (ImportError, OSError) as error:
        msg = f"TensorRT is installed but cannot be loaded ({error}): its libraries or the NVIDIA driver are missing or of another version."
        raise HardwareMissing(msg) from error
    check_version(read_installed_version())


class TensorRtBackend(Backend):
    """TensorRT. Its options are those of `BuildOptions`; what the user leaves out, the profile of the device says."""

    name = "tensorrt"
    quantized_outputs = False

    def computes_float16(self) -> bool:  # noqa: D102 - see base
        return True

    def check(self) -> None:  # noqa: D102 - see base
        check_tensorrt()
        open_device(spin=False).close()

    def check_options(self, options: str) -> None:  # noqa: D102 - see base
        parse_options(options)

    def versions(self) -> dict[str, str]:  # noqa: D102 - see base
        from importlib.metadata import version

        pycuda = find_package_version("pycuda")
        return {
            "tensorrt": ".".join(map(str, read_installed_version())),
            **({"pycuda": pycuda} if pycuda else {}),  # without it cuda-python makes every call
            "cuda-bindings": version("cuda-bindings"),
        }

    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:  # noqa: D102 - see base
        return TensorRtStaged(self._stages(bundle, settings), bundle.manifest)

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        return TensorRtFused(self._stages(bundle, settings), bundle.manifest)

    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:  # noqa: D102 - see base
        return TensorRtBatch(self._stages(bundle, settings), bundle.manifest)

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        file = bundle.manifest.backbone
        logits = load_binary(bundle.file(file)).graph.output[0].name
        return TensorRtBackbone(self._engines(bundle, settings, [EngineSource(file, "the backbone")]), logits)

    def self_checks(self, bundle: Bundle, settings: Settings) -> Sequence[SelfCheck]:
        """Memory sharing, graph capture, and every way to decide, with its times."""
        return run_self_checks(self._stages(bundle, settings), bundle.manifest)

    def list_layers(self, bundle: Bundle, settings: Settings) -> dict[str, list[str]]:  # noqa: D102 - see base
        engines = self._stages(bundle, settings)
        try:
            with engines.device.active("reading the layers of engines"):
                return {f"stage {k + 1}": engines.list_layers(k) for k in range(len(engines))}
        finally:
            engines.release()

    def read_log(self) -> Sequence[str]:  # noqa: D102 - see base
        return tuple(ErrorLog().history)

    def _stages(self, bundle: Bundle, settings: Settings) -> Engines:
        return self._engines(
            bundle, settings, [EngineSource(s.file, f"stage {s.exit}") for s in bundle.manifest.stages]
        )

    def _engines(self, bundle: Bundle, settings: Settings, parts: Sequence[EngineSource]) -> Engines:
        check_tensorrt()
        if "int8" in list_distinct_names(settings.precision):
            _refuse_unsigned(bundle, settings.precision, parts)
        profile = find_current_profile()
        device = open_device(spin=settings.spin)
        try:
            options = BuildOptions.from_device(device.facts, profile, settings.options)
            options.check_dla(profile, settings.precision, read_installed_version())
            workshop = EngineFactory(ErrorLog(), options, settings.precision, get_build_progress())
            return Engines(device, workshop, bundle, parts)
        except BaseException:
            device.close()
            raise


def _refuse_unsigned(bundle: Bundle, precision: str, parts: Sequence[EngineSource]) -> None:
    """TensorRT takes signed ranges around 0 only.

    Raises:
        InputError: the bundle was quantised for a CPU.
    """
    for part in parts:
        graph = load_binary(bundle.file(part.file)).graph
        zeros = {node.input[2] for node in graph.node if node.op_type == "QuantizeLinear" and len(node.input) > 2}
        if any(t.name in zeros and t.data_type == TensorProto.UINT8 for t in graph.initializer):
            remedy = f"Compile the model again for it: edgeexit compile --backend tensorrt --precision {precision}"
            msg = f"{bundle.path} was brought to int8 for CPUs, with unsigned activations, which TensorRT does not take. {remedy}"
            raise InputError(msg)


BACKEND = TensorRtBackend()

__all__ = [
    "BACKEND",
    "BuildOptions",
    "DeciderWarning",
    "EngineWarning",
    "TensorRtBackend",
    "check_tensorrt",
]
