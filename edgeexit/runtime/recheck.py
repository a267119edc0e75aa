"""Time every exit for a few seconds, and compare with what a calibration of another device measured.

A calibration's thresholds give the same answers wherever the network runs; whether they also meet a bound on time depends on what each exit
costs. They are taken over where no exit is slower than it was, and the exits cost the same shares of the last one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle.calibration_document import CalibrationDocument
from edgeexit.errors import InputError
from edgeexit.runtime.runner import Runner
from edgeexit.util import units

SECONDS = 5.0
"""Seconds of a re-check."""
TOLERANCE = 0.15
"""Largest relative slowdown of an exit, and largest relative difference of its share of the last exit's time."""
_BLOCK = 10
_FEWEST_BLOCKS = 3


@dataclass(frozen=True)
class Recheck:
    """Mean times of leaving at each exit, in seconds: as the calibration has them, and now.

    Attributes:
        then_s, now_s: [N].
    """

    then_s: tuple[float, ...]
    now_s: tuple[float, ...]

    @property
    def agrees(self) -> bool:
        """Whether the calibration's times hold here."""
        return self.slower <= TOLERANCE and self.reshaped <= TOLERANCE

    @property
    def slower(self) -> float:
        """Relative slowdown of the exit that lost most; below 0 where every exit is faster."""
        return max(now / then for then, now in zip(self.then_s, self.now_s, strict=True)) - 1

    @property
    def reshaped(self) -> float:
        """Largest relative difference of an exit's share of the last exit's time."""
        then, now = (np.asarray(times) / times[-1] for times in (self.then_s, self.now_s))
        return float(np.abs(now / then - 1).max())

    def __str__(self) -> str:
        """The times side by side."""
        pairs = zip(self.then_s, self.now_s, strict=True)
        return ", ".join(
            f"exit {k} {units.seconds(then)}, now {units.seconds(now)}" for k, (then, now) in enumerate(pairs, 1)
        )


def recheck_times(runner: Runner, calibration: CalibrationDocument, seconds: float | None = None) -> Recheck:
    """Force every exit in turn, on random inputs, and compare with the times in a calibration document.

    Raises:
        InputError: the document has no time of each exit, or the network gives NaN on random inputs.
    """
    then_s = _read_recorded_means(calibration, runner.exits)
    x = make_random_inputs(runner.bundle.manifest.inputs, 0)
    blocks: list[list[float]] = [[] for _ in range(runner.exits)]
    end_s = perf_counter() + (SECONDS if seconds is None else seconds)
    for k in range(runner.exits):
        _time_block_mean(runner, x, k + 1)  # the first calls are slower
    while perf_counter() < end_s or len(blocks[0]) < _FEWEST_BLOCKS:
        for k, means in enumerate(blocks):
            means.append(_time_block_mean(runner, x, k + 1))
    return Recheck(then_s, tuple(float(np.median(means)) for means in blocks))


def _time_block_mean(runner: Runner, x: Mapping[str, Any], exit: int) -> float:
    start_s = perf_counter()
    for _ in range(_BLOCK):
        runner.forced(dict(x), exit=exit)
    return (perf_counter() - start_s) / _BLOCK


def _read_recorded_means(calibration: CalibrationDocument, exits: int) -> tuple[float, ...]:
    times = [math.nan if row.mean_s is None else row.mean_s for row in calibration.exits]
    if len(times) != exits or not all(0 < t < math.inf for t in times):
        msg = "the calibration has no time of each exit to compare with: calibrate on this device."
        raise InputError(msg)
    return tuple(times)
