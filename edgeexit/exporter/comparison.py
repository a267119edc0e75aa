"""The file beside eager: on random inputs, one at a time and several, and on extreme ones, where tiny constants matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexit.backends.base import Settings
from edgeexit.backends.example_inputs import is_steady, make_extreme_inputs
from edgeexit.backends.onnxruntime.errors import translate_runtime_errors
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.compiler.tolerances import get_rounding_tolerance
from edgeexit.errors import InternalError, ModelError
from edgeexit.exporter.eager import run_eager_exits
from edgeexit.graph.model import TensorSpec
from edgeexit.nets.outputs import ExitTensors

if TYPE_CHECKING:
    import onnxruntime as ort

_REPEATS = 4
"""Number of repeated forward calls before a difference is attributed to the file: two draws of a few random numbers may be equal."""

_PRECISIONS = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
"""Where the module computes in fewer bits than float32."""


_TRAINING_BRANCH = (
    ". This is forward's training branch: set the probability of what it drops itself to 0, or use torch.nn.Dropout, which stays in"
    " evaluation"
)


def check_repeats(module: nn.Module, inputs: Mapping[str, Tensor], exits: Sequence[ExitTensors]) -> None:
    """Raise a ModelError where forward, asked again, does not give these exits again."""
    again = run_eager_exits(module, inputs, None)
    worst = _find_worst_difference(_list_tensors(exits), _list_tensors(again))
    if worst > _find_tolerance(module, inputs, exits):
        msg = (
            f"forward gives different answers for the same input, by {worst:.2e} of the largest logit: it draws random numbers, or "
            "keeps state between calls outside of its buffers. Make it deterministic in evaluation mode: "
            "F.dropout(x, p, self.training) draws in training only, noise can be an input, state can be a buffer (register_buffer)"
            f"{_TRAINING_BRANCH if module.training else ''}"
        )
        raise ModelError(msg)


def compare(
    module: nn.Module, path: Path, inputs: Mapping[str, Tensor], exits: Sequence[ExitTensors], *, dynamic_batch: bool
) -> tuple[float, int]:
    """Largest relative difference between the file and eager over a few random batches, and how many there were."""
    refused = "ONNX Runtime cannot run the exported file"
    with translate_runtime_errors(refused):
        session = open_session(path, Settings(), batch_1=False)
    limit = _find_tolerance(module, inputs, exits)
    batches = [1, 3, 1, 5] if dynamic_batch else [1] * 4
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for rows in batches:
        feed, want = _make_queries(module, inputs, [e.name for e in exits], rows, generator)
        with translate_runtime_errors(refused):
            got = session.run(None, {name: x.cpu().numpy() for name, x in feed.items()})
        worst = max(worst, _find_worst_difference(_list_tensors(want), got))
        if worst > limit:
            for _ in range(_REPEATS):
                check_repeats(module, feed, want)
            msg = f"the exported file differs from eager by {worst:.2e} of the largest logit; the limit is {limit:.0e}"
            raise InternalError(msg)
    _compare_extremes(module, session, inputs, exits, dynamic_batch=dynamic_batch)
    return worst, len(batches)


def _compare_extremes(
    module: nn.Module,
    session: ort.InferenceSession,
    inputs: Mapping[str, Tensor],
    exits: Sequence[ExitTensors],
    *,
    dynamic_batch: bool,
) -> None:
    """Raise InternalError where the file differs on zeros, tiny or saturating inputs on which forward itself is steady."""
    limit = _find_tolerance(module, inputs, exits, extreme=True)
    specs = [TensorSpec(n, str(x.cpu().numpy().dtype), tuple(x.shape)) for n, x in inputs.items()]

    def eager(arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        feed = {n: torch.from_numpy(a).to(inputs[n].device) for n, a in arrays.items()}
        return _list_tensors(run_eager_exits(module, feed, [e.name for e in exits]))

    for feed in make_extreme_inputs(specs, 2 if dynamic_batch else 1):
        with suppress(ModelError):  # forward, or the file, does not take these values
            want, got = eager(feed), _run(session, feed)
            apart = _find_worst_difference(want, got)
            if apart > limit and is_steady(eager, feed, limit):
                raise InternalError(_DIFFERS.format(apart))


_DIFFERS = (
    "the exported file differs from eager by {:.2e} of the largest logit on zeros, tiny or very large inputs, where small constants such "
    "as `+ 1e-8` decide: something between torch and the file rewrites the arithmetic. Please report it with the module."
)


def _run(session: ort.InferenceSession, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    taken = {i.name for i in session.get_inputs()}
    with translate_runtime_errors("ONNX Runtime cannot run the exported file"):
        return list(session.run(None, {n: a for n, a in feed.items() if n in taken}))


def _make_queries(
    module: nn.Module, inputs: Mapping[str, Tensor], names: Sequence[str], rows: int, generator: torch.Generator
) -> tuple[dict[str, Tensor], list[ExitTensors]]:
    """Random inputs and what forward gives for them: noise, or where forward cannot take it, the example's own values."""
    try:
        return _run_query(module, {name: _make_noise(x, rows, generator) for name, x in inputs.items()}, names)
    except ModelError:  # an index or a category may be carried in a float
        feed = {name: _shuffle_example(x, rows, generator) for name, x in inputs.items()}
    try:
        return _run_query(module, feed, names)
    except ModelError as error:
        raise ModelError(f"{error} {_ANY_PLACE}" if error.__cause__ else str(error)) from error.__cause__


_DRAWN = "inputs that edgeexit drew from the example's values, to compare the file on; on the example itself it works"
_ANY_PLACE = (
    "Where an input holds indices or categories beside other numbers, give them as an integer input of their own: the values of an input "
    "are drawn for any of its places."
)


def _run_query(
    module: nn.Module, feed: dict[str, Tensor], names: Sequence[str]
) -> tuple[dict[str, Tensor], list[ExitTensors]]:
    exits = run_eager_exits(module, feed, names, on=_DRAWN)
    if not all(np.isfinite(t).any() for t in _list_tensors(exits)):
        msg = "forward gives no finite number on random inputs of the example's shape, so the file cannot be compared with it"
        raise ModelError(msg)
    return feed, exits


def _list_tensors(exits: Sequence[ExitTensors]) -> list[NDArray[np.float32]]:
    """Logits and scores of every exit, in the order of the file's outputs."""
    return [t.detach().cpu().float().numpy() for e in exits for t in (e.logits, e.score) if t is not None]


def _find_tolerance(
    module: nn.Module, inputs: Mapping[str, Tensor], exits: Sequence[ExitTensors], *, extreme: bool = False
) -> float:
    """That of the coarsest numbers that the module reads, keeps or returns."""
    tensors = [*inputs.values(), *module.parameters(), *(e.logits for e in exits)]
    return max(get_rounding_tolerance(_PRECISIONS.get(t.dtype, "float32"), extreme=extreme) for t in tensors)


def _make_noise(example: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Noise of the example's shape and dtype; integers are drawn from the example's own, which may be the only legal ones."""
    if not example.is_floating_point():
        return _shuffle_example(example, rows, generator)
    return torch.randn((rows, *example.shape[1:]), generator=generator).to(example)


def _shuffle_example(example: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """The example's shape, dtype and values, in any order."""
    shape = (rows, *example.shape[1:])
    picks = torch.randint(example.numel(), (int(np.prod(shape)),), generator=generator)
    return example.flatten()[picks.to(example.device)].reshape(shape)


def _find_worst_difference(want: Sequence[NDArray[np.float32]], got: Sequence[NDArray[Any]]) -> float:
    """The largest difference of any output; infinite where there are not as many."""
    return max(map(_compute_difference, want, got)) if len(want) == len(got) else float("inf")


def _compute_difference(want: NDArray[np.float32], got: NDArray[Any]) -> float:
    """Largest difference as a share of the largest magnitude, over finite entries; infinite where others do not agree.

    A masked class has a logit of -inf, in the file as in eager.
    """
    if want.shape != got.shape:
        return float("inf")
    finite = np.isfinite(want) & np.isfinite(got)
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True):
        return float("inf")
    want, got = want[finite], got[finite].astype(np.float32)
    return float(np.abs(want - got).max(initial=0.0) / max(1.0, float(np.abs(want).max(initial=0.0))))
