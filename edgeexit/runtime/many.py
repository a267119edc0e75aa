"""Many samples one after the other, each leaving as soon as it is sure, without a return to the caller in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Program
from edgeexit.backends.base import Array
from edgeexit.errors import InputError
from edgeexit.runtime.reading import explain_nan


@dataclass(frozen=True, eq=False)
class ManyPredictions:
    """The answers to many inputs, in their order; what `Prediction` has for one, as arrays.

    Attributes:
        labels: int64 [n], numbers of the classes with the largest logits.
        exits: int64 [n], the exits that answered, from 1.
        scores: float64 [n], in the criterion's own unit.
        logits: float32 [n, classes].
        latency_s: float64 [n], seconds from one sample's answer to the next, copying it in and its logits out included.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> data = load_data("digits:test")
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     found = runner.run_many(data.inputs[:200])
        >>> len(found), found.logits.shape, bool((found.labels == data.labels[:200]).mean() > 0.9)
        (200, (200, 10), True)
    """

    labels: NDArray[np.int64]
    exits: NDArray[np.int64]
    scores: NDArray[np.float64]
    logits: NDArray[np.float32]
    latency_s: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of inputs."""
        return len(self.labels)


def run_each(program: Program, inputs: Mapping[str, Array], thresholds: Sequence[float], sign: int) -> ManyPredictions:
    """Run a program on many samples in a row; labels are found, and NaN is looked for, in all of them at once behind the loop.

    Args:
        program: the program.
        inputs: arrays [n, ...] by input name, checked.
        thresholds: inner ones.
        sign: of the criterion, from inner scores to its own unit.

    Raises:
        InputError: the network gave NaN, with the first such sample.
    """
    count, all_exits = len(next(iter(inputs.values()))), range(1, program.exits + 1)
    slots = [program.inputs[name].reshape(array.shape[1:]) for name, array in inputs.items()]
    parts = [(program.logits(exit)[0], program.make_score_reader(exit)) for exit in all_exits]
    logits = np.empty((count, len(parts[0][0])), np.float32)
    exits, scores, run, clock = list[int](), list[float](), program.run, perf_counter
    times = [clock()]
    for sample, kept in zip(zip(*inputs.values(), strict=True), logits, strict=True):
        for slot, values in zip(slots, sample, strict=True):
            slot[...] = values
        exit = run(thresholds)
        row, read_score = parts[exit - 1]
        kept[...] = row
        exits.append(exit)
        scores.append(read_score())
        times.append(clock())
    return _collect(logits, exits, sign * np.array(scores), np.diff(times))


def _collect(
    logits: NDArray[np.float32], exits: Sequence[int], scores: NDArray[np.float64], latency_s: NDArray[np.float64]
) -> ManyPredictions:
    labels = logits.argmax(axis=1)
    broken = np.flatnonzero(np.isnan(logits[np.arange(len(labels)), labels]))  # argmax finds NaN before any number
    if len(broken):
        raise InputError(explain_nan(exits[broken[0]], int(broken[0])))
    return ManyPredictions(labels, np.array(exits), scores, logits, latency_s)
