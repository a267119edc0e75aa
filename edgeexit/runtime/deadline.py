"""The best answer in time: a stage starts only while its calibrated p99 still fits before the deadline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from edgeexit.backends import StagedProgram
from edgeexit.bundle.calibration_document import CalibrationDocument
from edgeexit.errors import InputError
from edgeexit.util.arguments import as_float


@dataclass(frozen=True)
class Deadlines:
    """When each stage must start at the latest.

    Attributes:
        end_s: the deadline, on the clock of `perf_counter`.
        stage_p99_s: calibrated p99 time of each stage alone.
    """

    end_s: float
    stage_p99_s: tuple[float, ...]

    @classmethod
    def from_deadline(cls, called_s: float, deadline_s: object, stage_p99_s: tuple[float, ...] | None) -> Deadlines:
        """Run from the time of the call, so that waiting counts against the deadline.

        Args:
            called_s: time of the call, on the clock of `perf_counter`.
            deadline_s: seconds from then.
            stage_p99_s: 99th percentile of each stage, seconds, as from `read_stage_times`.

        Raises:
            InputError: the deadline is not a positive number, or there are no times.
        """
        seconds = as_float(deadline_s)
        if not 0 < seconds < math.inf:
            msg = f"deadline_s must be a positive number of seconds, not {deadline_s!r}."
            raise InputError(msg)
        return cls(called_s + seconds, require_stage_times(stage_p99_s))

    def allow(self, stage: int) -> bool:
        """Whether stage `stage` (from 0) fits, started now."""
        return perf_counter() + self.stage_p99_s[stage] <= self.end_s


def require_stage_times(stage_p99_s: tuple[float, ...] | None) -> tuple[float, ...]:
    """Return the times; raise InputError if there are none, because a deadline cannot be kept without them."""
    if stage_p99_s is None:
        msg = "a deadline needs the p99 of each exit on this device: run edgeexit calibrate first."
        raise InputError(msg)
    return stage_p99_s


def read_stage_times(calibration: CalibrationDocument | None, exits: int) -> tuple[float, ...] | None:
    """p99 of each stage alone, or None where the calibration document does not have the p99 of each exit.

    From the cumulative p99 less the median before it, so never less than the stage's own.
    """
    rows = () if calibration is None else calibration.exits
    late_s = [row.p99_s for row in rows if row.p99_s is not None]
    if not len(late_s) == len(rows) == exits:
        return None
    return (late_s[0], *(late - (row.p50_s or 0.0) for late, row in zip(late_s[1:], rows, strict=False)))


def run_until(
    program: StagedProgram, thresholds: Sequence[float], deadlines: Deadlines, start: Callable[[], None]
) -> tuple[int, bool]:
    """Run stages until one is sure or the next does not fit; returns the exit, and whether the deadline had then passed."""
    start()
    for k, stage in enumerate(program.stages):
        if k and not deadlines.allow(k):
            return k, perf_counter() > deadlines.end_s
        stage.run()
        if k < len(thresholds) and stage.score[0] >= thresholds[k]:
            return k + 1, perf_counter() > deadlines.end_s
    return program.exits, perf_counter() > deadlines.end_s
