"""Confidence intervals of bounded quantities for unseen data, from the samples at hand and the rounds of the timing.

All samples count, those that chose the thresholds too: they were chosen among thresholds of N-1 exits, which by the reflection principle
(the largest partial sum is beyond a level at most twice as often as the last one, once per threshold) costs a factor of 2^(N-1) in the
error probability. Where the same samples also chose this network, precision or criterion among several, the probability that one of them
looks better than it is adds up over all of them (the union bound), which costs a factor of their number. `compute_z` has both. Small counts
are smoothed as Agresti and Coull do (z²/2 made-up events), so that "none of 30" is not "never".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from edgeexit.calibration.replay import Bools, Floats, Indices, ReplayTable

CONFIDENCE = 0.99
"""Two-sided confidence of the intervals that bounds are judged by."""
FLOOR = 0.02
"""Relative: what times differ by from one process to the next, however long each is measured."""
ENERGY_FLOOR = 0.05
_MOST_DOUBLINGS = 8
"""Where many exits are, few of their thresholds decide: those with a share of the samples large enough to move the sum."""


@dataclass(frozen=True, eq=False)
class ExitSample:
    """Exit rates and number of samples.

    Attributes:
        table: all samples, with costs.
        leaves: int64 [M], the exit (from 0) where each leaves.
        reachable: bool [N], whether any input can leave there; False where a threshold is "never".
        candidates: number of independent candidates of which these samples chose this one.
    """

    table: ReplayTable
    leaves: Indices
    reachable: Bools
    candidates: float = 1.0

    @classmethod
    def from_thresholds(
        cls, table: ReplayTable, inner_thresholds: tuple[float, ...], candidates: float = 1.0
    ) -> ExitSample:
        """Outcome of the thresholds on the samples."""
        reachable = np.array([*(t < math.inf for t in inner_thresholds), True])
        return cls(table, table.leaves_at(inner_thresholds), reachable, candidates)

    @property
    def z(self) -> float:
        """Standard errors of a half width."""
        return compute_z(self.table.exits, self.candidates)

    @property
    def early(self) -> bool:
        """Whether any input can leave before the last exit."""
        return bool(self.reachable[:-1].any())

    @property
    def rates(self) -> Floats:
        """Share of samples leaving at each exit, [N]."""
        return np.bincount(self.leaves, minlength=self.table.exits) / len(self.leaves)

    def mean(self, per_exit: Floats) -> float:
        """Standard error of a mean cost, from a cost per exit [N]."""
        return float(self.rates @ per_exit)

    def mean_error(self, per_exit: Floats) -> float:
        """Half width of the mean of a cost per exit, in its unit, from who happened to be among the samples."""
        counts = self.rates * len(self.leaves) + self.reachable
        rates = counts / counts.sum()
        variance = float(rates @ (per_exit - float(rates @ per_exit)) ** 2)
        return self.z * math.sqrt(variance / len(self.leaves))

    def share_error(self, share: float) -> float:
        """Half width of a share of the samples."""
        n, more = len(self.leaves), self.z**2
        smoothed = (share * n + more / 2) / (n + more)
        return self.z * math.sqrt(smoothed * (1 - smoothed) / (n + more)) + abs(smoothed - share)

    def lost_and_gained(self) -> tuple[int, int]:
        """Number of samples that only the backbone, and that only the policy, answers correctly."""
        assert self.table.correct is not None
        right, straight = self.table.correct[np.arange(len(self.leaves)), self.leaves], self.table.backbone_right
        return int(np.count_nonzero(straight & ~right)), int(np.count_nonzero(right & ~straight))

    def drop_error(self) -> float:
        """Half width of the drop below the backbone, in points; 0 where all samples run to a last exit that is the backbone."""
        if not self.early and self.table.last_is_backbone:
            return 0.0
        n, (lost, gained) = len(self.leaves), self.lost_and_gained()
        variance = (lost + gained + self.z**2 / 2) / n - ((lost - gained) / n) ** 2
        return 100 * self.z * math.sqrt(variance / n)


@dataclass(frozen=True, eq=False)
class RunTimes:
    """The times of a run of a policy on the device.

    Attributes:
        latency_s: latency of every inference, [n]. rounds: the round of each, from 0.
        exit_cost_s: per exit, its latencies when run alone.
        mixing: the policy's mean latency over that of its exits run alone: mixing them costs caches and branch predictions.
    """

    latency_s: Floats
    rounds: Indices
    exit_cost_s: Sequence[Floats]
    mixing: float


def compute_tail(exits: int, candidates: float = 1.0) -> float:
    """Probability of an error to one side of an interval at CONFIDENCE, for one candidate with one set of thresholds.

    Args:
        exits: number of exits whose thresholds the same samples chose.
        candidates: number of independent candidates of which they chose this one.
    """
    return (1 - CONFIDENCE) / 2 / float(2 ** min(exits - 1, _MOST_DOUBLINGS)) / candidates


def compute_z(exits: int, candidates: float = 1.0) -> float:
    """Standard errors of a half width at CONFIDENCE, where the samples also chose the thresholds of `exits` exits, and the candidate."""
    return -NormalDist().inv_cdf(compute_tail(exits, candidates))
