"""Accuracy and time at other thresholds, from the scores of the accuracy pass and the measured cost of each exit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexit.criteria import find_known_criterion
from edgeexit.leaving import find_leaves
from edgeexit.measure import BenchResult
from edgeexit.report.plot.figure import Floats

_MOST = 400


@dataclass(frozen=True)
class ThresholdSweep:
    """One row per threshold, from always leaving at exit 1 to never leaving early.

    Attributes:
        own: the threshold in the criterion's unit, the same at every exit; finite, [m].
        accuracy: share of right answers (or of agreement with the backbone, without labels), [m].
        mean_cost: Σ share · cost of the exit, [m]; seconds unless other costs were given.
        shares: [m, N].
    """

    own: Floats
    accuracy: Floats
    mean_cost: Floats
    shares: NDArray[np.float64]

    def knee(self) -> int:
        """The row furthest above the straight line from the fastest to the most accurate one (Satopää 2011, Kneedle)."""
        best = int(np.argmax(self.accuracy))
        low, high = int(np.argmin(self.mean_cost)), best
        width = (self.mean_cost[high] - self.mean_cost[low]) or 1.0
        height = (self.accuracy[high] - self.accuracy[low]) or 1.0
        above = (self.accuracy - self.accuracy[low]) / height - (self.mean_cost - self.mean_cost[low]) / width
        inside = (self.mean_cost >= self.mean_cost[low]) & (self.mean_cost <= self.mean_cost[high])
        return int(np.argmax(np.where(inside, above, -np.inf)))


def sweep_thresholds(result: BenchResult, costs: Floats | None = None) -> ThresholdSweep | None:
    """The sweep of a result; None where its raw samples are not there, or nobody here knows its criterion.

    The same threshold stands at every exit, which for two exits is every policy there is and for more is a line through them.

    Args:
        result: result with its raw samples.
        costs: costs of leaving at each exit, [N]; None for the mean latencies of the forced exits, seconds.
    """
    rule = find_known_criterion(result.subject.criterion)
    if rule is None or "scores" not in result.raw or "hits" not in result.raw:
        return None
    scores, hits = result.raw["scores"], result.raw["hits"]
    early = scores[:, :-1]
    values = np.unique(early[np.isfinite(early)])
    if len(values) > _MOST:
        values = np.unique(np.quantile(values, np.linspace(0.0, 1.0, _MOST), method="nearest"))
    if costs is None:
        costs = np.array([e.forced.mean_s for e in result.latency.per_exit])
    rows = [_evaluate_threshold(early, hits, np.float32(t)) for t in values]
    shares = np.array([row[0] for row in rows])
    own = np.array([rule.own(float(t)) for t in values])
    return ThresholdSweep(own, np.array([row[1] for row in rows]), shares @ costs, shares)


def _evaluate_threshold(
    early: NDArray[np.float32], hits: NDArray[np.bool_], threshold: np.float32
) -> tuple[NDArray[np.float64], float]:
    exits = find_leaves(early.T, [float(threshold)] * early.shape[1])
    shares = np.bincount(exits, minlength=hits.shape[1]) / len(exits)
    return shares, float(hits[np.arange(len(exits)), exits].mean())
