"""What leaving at each exit costs on this machine, measured for a loss that pays for time."""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexit.nets.state import evaluation_mode

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

_SECONDS = 1.0


def measure_exit_latencies(module: nn.Module, example: Tensor, *, seconds: float = _SECONDS) -> list[float]:
    """Median latency of one input that leaves at each exit, in seconds: exported, compiled and run by ONNX Runtime on one thread.

    Args:
        module: returns or marks every exit; two or more. It keeps its weights and its mode.
        example: one input [1, ...]; its shape counts, its values do not.
        seconds: time to measure.

    Raises:
        ModelError: the module cannot be exported.
    """
    from edgeexit.compiler.compilation import compile_model
    from edgeexit.exporter import ExportWarning, export
    from edgeexit.measure.timing import time_interleaved
    from edgeexit.runtime import CalibrationWarning, load
    from edgeexit.util.progress import show_nothing

    x = np.random.default_rng(0).normal(size=tuple(example.shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch, evaluation_mode(module), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExportWarning)
        warnings.simplefilter("ignore", CalibrationWarning)
        folder = Path(scratch)
        export(module, example.cpu(), folder / "model.onnx")
        compiled = folder / "model.eexit"
        bundle = compile_model(folder / "model.onnx", compiled, criterion="entropy", seconds=0, progress=show_nothing)
        with load(bundle.path, threads=1) as runner:
            names = [f"exit {k}" for k in range(1, runner.exits + 1)]
            calls = {name: partial(_leave, runner, x, k) for k, name in enumerate(names, 1)}
            timed = time_interleaved(calls, seconds=seconds, warmup_s=seconds / 4)
    return [timed[name].median_s for name in names]


def _leave(runner: Runner, x: NDArray[Any], exit: int, _: int) -> object:
    return runner.forced(x, exit=exit)
