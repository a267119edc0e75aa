"""TensorRT's log messages, collected, and translated into one error with a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, SupportsInt

from edgeexit.errors import EdgeExitError, HardwareMissing, InternalError, ModelError
from edgeexit.util.progress import Progress

if TYPE_CHECKING:
    import tensorrt

_KEPT = 20
_HISTORY = 500
_NO_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "std::bad_alloc")
_NO_SCRATCH = ("insufficient workspace",)
_OLD_DRIVER = ("initialization failure with error: 35", "driver version is insufficient", "insufficientdriver")
_NO_DEVICE = ("cuda initialization failure", "no cuda-capable device", "cudaerrornodevice")
_NO_IMPLEMENTATION = ("could not find any implementation for node", "no implementation")


class ErrorLog:
    """The last errors that TensorRT logged; `logger` is what it logs to, `history` the last warnings and errors of the process.

    There is one logger in a process, and it stays: TensorRT keeps the first that it is given, whatever is given later.
    """

    def __init__(self) -> None:
        import tensorrt as trt

        self.logger, self.errors, self.history = _make_logger(trt)
        self.clear()

    def clear(self) -> None:
        """Forget them, before a new attempt."""
        self.errors.clear()

    @property
    def last(self) -> str:
        """The last one, in one line."""
        return _get_last_error(self.errors)


def _get_last_error(errors: Sequence[str]) -> str:
    return " ".join(errors[-1].split())[:400] if errors else "no reason given"


@lru_cache(maxsize=1)
def _make_logger(_module: ModuleType) -> tuple[tensorrt.ILogger, list[str], list[str]]:
    """The logger of this process, the errors, and all it heard from warnings up; once per module, of which there is one outside tests."""
    import tensorrt as trt

    errors: list[str] = []
    history: list[str] = []
    levels: Any = trt.ILogger
    heard = (levels.WARNING, levels.ERROR, levels.INTERNAL_ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc, unused-ignore]
        """Keeps errors and warnings; TensorRT's chatter goes nowhere."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 demands the direct call

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                errors.append(msg)
                del errors[:-_KEPT]
            if severity in heard:
                history.append(f"TensorRT {str(severity).rpartition('.')[2].lower()}: {msg}")
                del history[:-_HISTORY]

    return Logger(), errors, history


def monitor(what: str, progress: Progress) -> tensorrt.IProgressMonitor:
    """TensorRT's progress monitor, reporting its outermost phase; only that one knows how long the build is."""
    import tensorrt as trt

    class BuildMonitor(trt.IProgressMonitor):  # type: ignore[misc, unused-ignore]
        """Counts steps of the phase without a parent."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt) -> None:
            if not parent_phase:
                self._steps[phase_name] = int(num_steps)
                progress(f"{what}: {phase_name}", 0, int(num_steps))

        def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
            if phase_name in self._steps:
                progress(f"{what}: {phase_name}", min(int(step) + 1, self._steps[phase_name]), self._steps[phase_name])
            return True  # go on; an interrupt is seen when the build returns

        def phase_finish(self, phase_name: str) -> None:
            steps = self._steps.pop(phase_name, None)
            if steps is not None:
                progress(f"{what}: {phase_name}", steps, steps)

    return BuildMonitor()


def start_error(errors: Sequence[str]) -> HardwareMissing:
    """Translate a failure of TensorRT to start."""
    last, text = _get_last_error(errors), " ".join(errors).lower()
    if any(words in text for words in _OLD_DRIVER):
        msg = (
            f"the NVIDIA driver is too old for this TensorRT ({last}). Update the driver (Jetson: the JetPack), or install the TensorRT"
            " of the CUDA version that nvidia-smi shows, such as: pip install tensorrt-cu12."
        )
        return HardwareMissing(msg)
    return HardwareMissing(
        f"TensorRT finds no working GPU ({last}). Check that nvidia-smi (Jetson: tegrastats) answers."
    )


def build_error(what: str, errors: Iterable[str]) -> EdgeExitError:
    """Translate a failed build of `what`."""
    texts = list(errors)
    last, text = _get_last_error(texts), " ".join(texts).lower()
    if any(words in text for words in _NO_SCRATCH):
        msg = (
            f"{what} needs more scratch memory than it may use ({last}). Give more with --options workspace_mib=N, or"
            " workspace_mib=auto for all there is; or compile with float16."
        )
        return HardwareMissing(msg)
    if any(words in text for words in _NO_MEMORY):
        msg = (
            f"building {what} ran out of memory (TensorRT says: {last}). Close other programs that use the GPU (on Jetson also the"
            " desktop), add swap, or compile with float16."
        )
        return HardwareMissing(msg)
    if any(words in text for words in (*_OLD_DRIVER, *_NO_DEVICE)):
        return start_error(texts)
    if any(words in text for words in _NO_IMPLEMENTATION):
        msg = f"TensorRT has no kernel for a layer of {what} ({last}). Compile with float32, or run it with --backend onnxruntime."
        return ModelError(msg)
    return InternalError(f"TensorRT could not build {what}: {last}. Please report it with the model.")


def parse_error(what: str, parser: tensorrt.OnnxParser) -> ModelError:
    """Translate a failed parse: every node that TensorRT rejects, by name and operator."""
    faults = [_format_error(parser.get_error(i)) for i in range(parser.num_errors)]
    listed = "; ".join(dict.fromkeys(faults)) or "no reason given"
    msg = (
        f"TensorRT cannot take {what}: {listed}. Export the network with other operators or another opset, move the exit so that"
        " the operator falls out, or run it with --backend onnxruntime."
    )
    return ModelError(msg)


def _format_error(error: tensorrt.ParserError) -> str:
    reason = " ".join(error.desc().split())[:200]
    if reason.lower() in {"", "false", "true"}:  # TensorRT's own condition, which carries no information
        code = error.code()
        reason = str(getattr(code, "name", code)).lower().replace("_", " ")
    return f"node {error.node_name()!r} ({error.node_operator()}): {reason}"
