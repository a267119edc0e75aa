"""An alarm when what the network sees leaves what calibration saw: windows of inferences against the calibrated exit rates and scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.calibration.arrays import check_thresholds
from edgeexit.calibration.replay import Floats, ReplayTable
from edgeexit.errors import InputError
from edgeexit.util import units
from edgeexit.util.arguments import as_float, as_share, as_whole

WINDOW = 500
FALSE_ALARM = 0.01
BINS = 4
"""Cells per early exit: quarters of the scores there."""
_LONGEST_WINDOW = 10**9


@dataclass(frozen=True, eq=False)
class CellCounts:
    """Counts of the calibration data under one policy: a cell per exit and, for early exits, per quarter of the scores there.

    Attributes:
        thresholds: inner, [N-1].
        edges: inner scores between the cells of each early exit, rising, [N-1] arrays.
        counts: calibration samples per cell, [cells].
    """

    thresholds: NDArray[np.float32]
    edges: tuple[Floats, ...]
    counts: Floats

    @classmethod
    def from_table(cls, table: ReplayTable, thresholds: ArrayLike) -> CellCounts:
        """Make the cells from a replay table."""
        inner = check_thresholds(thresholds, table.exits)
        leaves = table.leaves_at(inner)
        edges = tuple(_compute_edges(table.scores[leaves == k, k]) for k in range(table.exits - 1))
        places = [find_cell(edges, k + 1, float(s)) for k, s in zip(leaves, _select_scores(table, leaves), strict=True)]
        return cls(inner, edges, np.bincount(places, minlength=BINS * len(edges) + 1).astype(np.float64))


def find_cell(edges: tuple[Floats, ...], exit: int, score: float) -> int:
    """The cell of a prediction: where it left (from 1) and its confidence there (inner score; not used at the last exit)."""
    if exit > len(edges):
        return BINS * len(edges)
    return BINS * (exit - 1) + int(np.searchsorted(edges[exit - 1], score, side="right"))


class DriftAlarm:
    """Counts cells window by window; each window is a two-sample chi-square test against calibration, its level spent so that the chance of
    a false alarm on an unchanged stream is at most `false_alarm`.

    Args:
        seen: what calibration saw.
        sign: sign of the criterion, so that `observe` takes scores in own units.
        window: inferences per test.
        false_alarm: probability of a false alarm, over an endless stream.

    Attributes:
        raised: whether there was an alarm; it stays.
        reason: what it found, as text; None without one.
        tests: how many windows were tested.
        p_value: of the last test; None before it.
        seen: as given.

    Raises:
        InputError: no CellCounts, a window of less than one inference, or a probability that is not between 0 and 1.

    Example:
        >>> import edgeexit
        >>> from edgeexit.calibration import CellCounts
        >>> table = edgeexit.ReplayTable.from_arrays(
        ...     scores=[[k / 100] for k in range(100)], correct=[[1, 1]] * 100, cost_s=[0.001, 0.003]
        ... )
        >>> alarm = edgeexit.DriftAlarm(CellCounts.from_table(table, [0.5]), window=50)
        >>> any(alarm.observe(2, 0.1) for _ in range(50))  # calibration saw half of the samples leave at exit 1
        True
    """

    def __init__(
        self, seen: CellCounts, *, sign: int = 1, window: int = WINDOW, false_alarm: float = FALSE_ALARM
    ) -> None:
        self.window = as_whole("window", window, 1, _LONGEST_WINDOW)
        self.false_alarm = as_share("false_alarm", false_alarm)
        self.raised = False
        self.reason: str | None = None
        self.tests = 0
        self.p_value: float | None = None
        self.seen, self._sign = _as_seen(seen), sign
        self._counts = np.zeros(len(self.seen.counts))
        self._filled = 0

    def observe(self, exit: int, score: float) -> bool:
        """Take in one prediction (exit from 1, score in the criterion's own unit); True from the window that raises the alarm on.

        Raises:
            InputError: no such exit, or a score of an early exit that is no number.
        """
        early = len(self.seen.edges)
        as_whole("exit", exit, 1, early + 1)
        if exit <= early and math.isnan(as_float(score)):
            msg = f"score must be a number, as a Prediction has it, not {score!r}."
            raise InputError(msg)
        self._counts[find_cell(self.seen.edges, exit, self._sign * score)] += 1
        self._filled += 1
        if self._filled == self.window:
            self.test_window(self._counts)
            self._counts[:] = 0
            self._filled = 0
        return self.raised

    def test_window(self, counts: Floats) -> bool:
        """Test a window that was counted elsewhere, of any length that does not depend on what was seen; True once the alarm is raised.

        Args:
            counts: inferences per cell, as `seen.counts` has them.
        """
        self.tests += 1
        level = self.false_alarm * 6 / (math.pi * self.tests) ** 2
        self.p_value = compute_two_sample_p_value(counts, self.seen.counts)
        if self.p_value < level and not self.raised:
            self.raised, self.reason = True, self._format_alarm(counts, self.p_value)
        return self.raised

    def _format_alarm(self, counts: Floats, p_value: float) -> str:
        now, then = (compute_exit_rates(c, len(self.seen.edges)) for c in (counts, self.seen.counts))
        k = int(np.argmax(np.abs(now - then)))
        return (
            f"the last {counts.sum():.0f} inferences differ from the calibration data (p = {p_value:.1e}): "
            f"{units.percent(now[k], 1)} left at exit {k + 1}, {units.percent(then[k], 1)} did at calibration. Calibrate again."
        )


def _as_seen(value: object) -> CellCounts:
    if not isinstance(value, CellCounts):
        msg = (
            f"a DriftAlarm is made of what calibration saw, CellCounts.from_table(table, thresholds), not of {value!r}; "
            "or use edgeexit.drift_alarm(runner)."
        )
        raise InputError(msg)
    return value


def compute_two_sample_p_value(counts: Floats, reference: Floats, least: float = 5.0) -> float:
    """p-value for "both counts come from the same shares", by the chi-square of two samples; cells expecting fewer than `least` are pooled.

    The tail is Wilson and Hilferty's cube-root normal approximation (1931), good to a few per cent of the p-value where it matters.
    """
    n, m = counts.sum(), reference.sum()
    expected = (counts + reference) * n / (n + m)
    small = expected < least
    a, b = (np.append(c[~small], c[small].sum()) for c in (counts, reference))
    used = (a + b) > 0
    a, b = a[used], b[used]
    freedom = len(a) - 1
    if freedom < 1:
        return 1.0
    chi2 = float(((math.sqrt(m / n) * a - math.sqrt(n / m) * b) ** 2 / (a + b)).sum())
    spread = 2 / (9 * freedom)
    return 0.5 * math.erfc(((chi2 / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(2 * spread))


def _compute_edges(scores: NDArray[np.float32]) -> Floats:
    if not len(scores):
        return np.zeros(0)
    return np.unique(np.quantile(scores.astype(np.float64), np.arange(1, BINS) / BINS))


def _select_scores(table: ReplayTable, leaves: NDArray[np.int64]) -> NDArray[np.float32]:
    padded = np.hstack([table.scores, np.zeros((len(table), 1), np.float32)])
    return np.asarray(padded[np.arange(len(table)), leaves])


def compute_exit_rates(counts: Floats, early: int) -> Floats:
    """Share of the samples of these cells that leave at each exit, of which `early` are early ones; [early + 1]."""
    rates = np.append(counts[: BINS * early].reshape(early, BINS).sum(axis=1), counts[-1])
    return np.asarray(rates / max(1.0, rates.sum()))
