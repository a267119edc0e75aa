"""Convert a module to an ONNX graph with torch's exporter; every failure raises a clear error."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from edgeexit.errors import MissingExtra, ModelError
from edgeexit.exporter.eager import DECIDES, FIXED_BATCH
from edgeexit.exporter.onnx_file import list_output_names
from edgeexit.exporter.simplification import simplify
from edgeexit.exporter.translations import list_translations
from edgeexit.nets.outputs import ExitTensors, run_exits
from edgeexit.nets.state import restore_buffers

DEFAULT_OPSET = 18
"""The lowest opset that torch's graph exporter writes without conversion; every supported runtime reads it."""


class _EveryExit(nn.Module):
    """The module with a flat tuple of tensors as its result, which is what an ONNX graph can return."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.training = False  # its parts keep the mode that they are in
        self.module = module
        self.names = tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        exits = run_exits(self.module, *inputs, names=self.names)
        return tuple(t for e in exits for t in (e.logits, e.score) if t is not None)


def convert_to_onnx(
    module: nn.Module, inputs: Mapping[str, Tensor], exits: Sequence[ExitTensors], *, dynamic_batch: bool, opset: int
) -> Any:
    """The module as an onnx_ir model."""
    wrapper = _EveryExit(module, [e.name for e in exits])
    batch = torch.export.Dim("batch", min=1) if dynamic_batch else None
    dynamic = {"inputs": tuple({0: batch} for _ in inputs)} if dynamic_batch else None
    outputs = [name for e in exits for name in list_output_names(e) if name is not None]
    try:
        with _silence_exporter(), restore_buffers(module):
            program = torch.onnx.export(
                wrapper,
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=dynamic,
                custom_translation_table=list_translations(),
                optimize=False,  # its optimiser drops tiny constants
            )
            assert program is not None
            simplify(program.model)
    except ImportError as error:
        raise MissingExtra("onnxscript", "torch") from error
    except torch.onnx.OnnxExporterError as error:
        raise _make_export_error(error, dynamic_batch=dynamic_batch) from error
    written = program.model.opset_imports[""]
    if written != opset:  # torch converts downwards where it can, and keeps its own where it cannot
        msg = f"torch cannot write this module in opset {opset}, only in {written}; leave the opset out"
        raise ModelError(msg)
    if dynamic_batch:
        _check_batch(program.model)
    return program.model


def _check_batch(model: Any) -> None:
    """Torch may fix a batch that was asked to be free, as where forward calls `len(x)`, without a warning."""
    fixed = [v.name for v in (*model.graph.inputs, *model.graph.outputs) if isinstance(v.shape[0], int)]
    if fixed:
        msg = f"the batch of {', '.join(fixed)} is fixed by forward (`len(x)` fixes it, `x.shape[0]` does not). {FIXED_BATCH}"
        raise ModelError(msg)


def _make_export_error(error: Exception, *, dynamic_batch: bool) -> ModelError:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    remedy = _find_remedy(reason) or (FIXED_BATCH if dynamic_batch else "")
    return ModelError(f"torch cannot export this module: {reason.rstrip('.')}. {remedy}".rstrip())


def _find_remedy(reason: str) -> str:
    """Remedy for a known cause of torch's error."""
    if "data-dependent" in reason.lower():
        return DECIDES
    if "No ONNX function" in reason:
        return "Compute it in forward by other operators, which ONNX has."
    return ""


_TALKERS = ("torch.onnx", "torch.export", "torch.fx.experimental.symbolic_shapes", "onnxscript")


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Torch's exporter warns about its own deprecated calls and about packages that are not needed here."""
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in _TALKERS}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        # Where a guess about a value fails, it also prints its whole graph.
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
