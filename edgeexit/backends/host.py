"""Programs of runtimes that read and write host memory: NumPy buffers, bound once, shared between stages.

A runtime brings one function, `Bind`; staged, fused and straight programs are then the same for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgeexit.backends.base import Array, BoundStage, Program, StagedProgram
from edgeexit.bundle import Manifest
from edgeexit.errors import ModelError
from edgeexit.graph.fuse import RESULTS, make_threshold_name
from edgeexit.graph.model import TensorSpec
from edgeexit.util.units import bytes_

Bind: TypeAlias = Callable[[int, Mapping[str, Array]], Callable[[], None]]
"""Binds an opened model, by its place from 0, to buffers by tensor name and returns the function that runs it once.

More buffers may be given than the model has tensors. The function keeps what it needs alive; the buffers stay where they are."""

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector load


def make_aligned_array(shape: Sequence[int], dtype: DTypeLike) -> Array:
    """Zeros [shape] whose first byte starts a cache line.

    Raises:
        ModelError: there is not so much memory.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    try:
        memory = np.zeros(size + _ALIGNMENT, np.uint8)
    except (MemoryError, ValueError) as error:  # ValueError: more than an array can ever have
        msg = f"a tensor of shape {list(shape)} needs {bytes_(size)}, more memory than this machine has: make the network smaller."
        raise ModelError(msg) from error
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(kind).reshape(shape)


def make_buffers(specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """One buffer for each tensor at batch 1, by name."""
    return {s.name: make_aligned_array(s.shape_at_1, s.dtype) for s in specs}


class _HostStage(BoundStage):
    def __init__(self, run: Callable[[], None], logits: NDArray[np.float32], score: NDArray[np.float32]) -> None:
        self.run = run
        self.logits = logits
        self.score = score


class HostStaged(StagedProgram):
    """One model per stage, in the order of the manifest's stages."""

    def __init__(self, manifest: Manifest, bind: Bind, note: str = "") -> None:
        self._made_of = (manifest, bind, note)
        self.note = note
        inputs = make_buffers(manifest.inputs)
        tensors: dict[str, Array] = dict(inputs)
        stages = []
        for place, entry in enumerate(manifest.stages):
            logits = make_aligned_array((1, manifest.classes), np.float32)
            score = make_aligned_array((1,), np.float32)
            # An exit's logits may also feed a later head: then both names are one buffer.
            tensors |= {**make_buffers(entry.boundaries_out), entry.logits: logits, entry.score: score}
            stages.append(_HostStage(bind(place, dict(tensors)), logits, score))
        super().__init__(inputs, stages)

    def clone(self) -> HostStaged:
        """The same models with buffers of its own."""
        return HostStaged(*self._made_of)


class HostFused(Program):
    """One conditional model; see `edgeexit.graph.fuse` for its inputs and outputs."""

    def __init__(self, manifest: Manifest, bind: Bind) -> None:
        self._made_of = (manifest, bind)
        self.exits = manifest.exits
        self.inputs = make_buffers(manifest.inputs)
        self._thresholds = [make_aligned_array((), np.float32) for _ in range(self.exits - 1)]
        self._set: Sequence[float] | None = None
        self._logits, self._exit, self._score = (
            make_aligned_array((1, manifest.classes), np.float32),
            make_aligned_array((), np.int64),
            make_aligned_array((), np.float32),
        )
        results: dict[str, Array] = dict(zip(RESULTS, (self._logits, self._exit, self._score), strict=True))
        thresholds = {make_threshold_name(k): t for k, t in enumerate(self._thresholds, 1)}
        self._run = bind(0, {**self.inputs, **thresholds, **results})

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: D102 - see base
        if thresholds is not self._set:  # callers pass the same object until they change a threshold
            self._set = None  # until all are written: Ctrl-C may come between
            for buffer, value in zip(self._thresholds, thresholds, strict=True):
                buffer[...] = value
            self._set = thresholds
        self._run()
        return int(self._exit)

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002, D102 - only one exit's result exists
        return self._logits

    def score(self, exit: int) -> float:  # noqa: ARG002, D102 - only one exit's result exists
        return float(self._score)

    def make_score_reader(self, exit: int) -> Callable[[], float]:  # noqa: ARG002, D102 - only one exit's result exists
        return self._score.item

    def clone(self) -> HostFused:
        """The same model with buffers of its own."""
        return HostFused(*self._made_of)


class HostBackbone(Program):
    """A model run straight: the backbone, or a model of its own to compare with.

    Args:
        bind: binds the buffers of its one model.
        inputs: its inputs.
        logits: name, dtype and shape of its logits.
        score: name of its score [1], float32; None where it has none.
    """

    exits = 1

    def __init__(self, bind: Bind, inputs: Sequence[TensorSpec], logits: TensorSpec, score: str | None = None) -> None:
        self._made_of = (bind, inputs, logits, score)
        self.inputs = make_buffers(inputs)
        made = make_aligned_array(logits.shape_at_1, logits.dtype)
        self._logits = made if made.dtype == np.float32 else make_aligned_array(logits.shape_at_1, np.float32)
        self._narrow = None if self._logits is made else made
        self._score = make_aligned_array((1,), np.float32)
        self._score[...] = np.nan
        self._run = bind(0, {**self.inputs, logits.name: made, **({score: self._score} if score else {})})

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: ARG002, D102 - nothing to decide
        self._run()
        if self._narrow is not None:
            self._logits[...] = self._narrow
        return 1

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002, D102 - see base
        return self._logits

    def score(self, exit: int) -> float:  # noqa: ARG002, D102 - see base
        return float(self._score[0])

    def make_score_reader(self, exit: int) -> Callable[[], float]:  # noqa: ARG002, D102 - see base
        return self._score.item

    def clone(self) -> HostBackbone:
        """The same model with buffers of its own."""
        return HostBackbone(*self._made_of)
