"""The drift alarm of a Runner, tested when somebody reads it: between two readings cells are only counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeexit.calibration import DriftAlarm, drift_alarm
from edgeexit.calibration.online.drift import BINS, compute_exit_rates
from edgeexit.calibration.replay import Floats
from edgeexit.errors import EdgeExitError
from edgeexit.monitor.counters import Counts
from edgeexit.runtime import Runner


@dataclass(frozen=True)
class DriftReading:
    """What is known of drift.

    Attributes:
        raised: whether there was an alarm since the thresholds in use were taken; it stays.
        reason: what it found; where nothing can be tested, why not.
        tests: windows tested.
        p_value: of the last window: how likely as large a difference is without drift; None before the first.
        calibrated_rates: exit rates on the calibration data, from exit 1; empty where they are not known.
    """

    raised: bool = False
    reason: str | None = None
    tests: int = 0
    p_value: float | None = None
    calibrated_rates: tuple[float, ...] = ()


class DriftWatch:
    """Tests for drift, one each time that at least `window` answers have come since the last.

    Args:
        runner: its calibration and thresholds are compared with; when these change, what was counted before is left out.
        set_edges: told of the inner scores between the cells of each exit.
        window: fewest inferences of a test.
        false_alarm: probability that an unchanged stream ever raises the alarm; see `DriftAlarm`.
    """

    def __init__(
        self, runner: Runner, set_edges: Callable[[list[list[float]]], None], *, window: int, false_alarm: float
    ) -> None:
        self._runner, self._set_edges = runner, set_edges
        self._window, self._false_alarm = window, false_alarm
        self._policy: tuple[object, ...] | None = None
        self._alarm: DriftAlarm | None = None
        self._why = "it was not read yet"
        self._tested: Floats = np.zeros(0)

    def read(self, cells: Counts) -> DriftReading:
        """Test what has been counted since the last test, if it is enough, and return what is known.

        Args:
            cells: all answers so far per exit and quarter of the scores.
        """
        policy = (self._runner.calibration_name, self._runner.inner_thresholds)
        if policy != self._policy:
            self._policy = policy
            self._start_alarm()
        alarm = self._alarm
        if alarm is None:
            return DriftReading(reason=self._why)
        counted = _flatten(cells, len(alarm.seen.edges))
        if not len(self._tested):
            self._tested = counted
        elif (counted - self._tested).sum() >= self._window:
            alarm.test_window(counted - self._tested)
            self._tested = counted
        rates = compute_exit_rates(alarm.seen.counts, len(alarm.seen.edges))
        return DriftReading(alarm.raised, alarm.reason, alarm.tests, alarm.p_value, tuple(rates.tolist()))

    def _start_alarm(self) -> None:
        self._alarm, self._tested = None, np.zeros(0)
        try:
            self._alarm = drift_alarm(self._runner, window=self._window, false_alarm=self._false_alarm)
        except (EdgeExitError, OSError) as error:  # no calibration, or a bundle that is gone
            self._why = str(error)
            return
        self._set_edges([*(edges.tolist() for edges in self._alarm.seen.edges), []])


def _flatten(cells: Counts, early: int) -> Floats:
    """Counts per cell as `CellCounts` has them; exits that nothing has left at yet are not in `cells`."""
    rows = np.zeros((early + 1, BINS))
    for row, counts in zip(rows, cells, strict=False):
        row[:] = counts
    return np.append(rows[:early].ravel(), rows[early].sum())
