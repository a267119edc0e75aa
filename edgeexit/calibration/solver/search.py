"""The best thresholds for a target on a replay table, with a certificate of how far from the best they can be.

grid          every combination on a grid at once            summed-area tables (`grid`); above 8 exits `coordinate_ascent`
refinement    two thresholds at a time, all scores            planes (`pairs`), then the exact sweep (`pair_sweep`)
certificate   no thresholds are better by more than `gap`     `branch_and_bound`, above 8 exits `decomposition`; 0 for
                                                              two and three exits
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.outcome import HasQuality, Outcome
from edgeexit.calibration.replay import Floats
from edgeexit.calibration.solver.branch_and_bound import compute_upper_bound
from edgeexit.calibration.solver.coordinate_ascent import climb_at_prices, optimize_prices
from edgeexit.calibration.solver.families import (
    Q_VALUES,
    SHARES,
    compute_rank_key,
    find_best_member,
    make_equal_share_boundaries,
    make_geometric_boundaries,
)
from edgeexit.calibration.solver.grid import Grid, find_starting_points
from edgeexit.calibration.solver.pair_sweep import can_optimize_pairs, optimize_pair
from edgeexit.calibration.solver.pairs import refine
from edgeexit.calibration.solver.problem import FEW_EXITS, Problem, compute_excess
from edgeexit.calibration.solver.ranks import Boundaries
from edgeexit.calibration.sums import SampleSum

PLANE_LEVELS = 256
MANY_EXITS = 3
"""From this number of early exits on a grid is coarse, and the families are tried too."""
PART = 10_000
PART_STARTS = 2
"""From more than twice `PART` samples on, starts are refined on about `PART` of them, and the best `PART_STARTS` on all."""
_ASCENDED_STARTS = 3
_FAR_ROUNDS = 3
SWEPT_SAMPLES = 60_000
"""A last exact sweep over all pairs is made while pairs × samples stay below this."""


@dataclass(frozen=True)
class Effort:
    """Search effort.

    Attributes:
        starts: number of grid cells that are refined.
        families: whether to start from simple families too, where exits are many.
        every_pair: whether to refine all pairs of thresholds of the best point where exits are many, not only near ones.
        work: undecided samples times exits that the certificate may look at, in millions; 0 for no certificate. A million is about a fifth
            of a second.
    """

    starts: int = 6
    families: bool = True
    every_pair: bool = True
    work: float = 1.5


QUICK = Effort(2, families=False, every_pair=False, work=0.0)
NORMAL = Effort()
THOROUGH = Effort(12, work=300.0)


@dataclass(frozen=True)
class Policy(HasQuality):
    """Thresholds, and what they do on the table they were found on.

    Attributes:
        thresholds: inner, float32 values [N-1]; -inf always leaves, +inf never.
        accuracy: share of right answers; None without labels.
        agreement: share of answers equal to the backbone's; None where not recorded.
        mean_s: mean latency, seconds; NaN where the table has none.
        energy_j: mean energy per inference, joules; None where not known.
        macs: mean multiply-accumulates per inference; None where not known.
        exit_rates: share leaving at each exit, [N].
        gap: no thresholds are better by more than this: a share of samples where accuracy (or agreement) is maximised, the unit of
            `mean_cost` where that is minimised. 0 is proved optimal; None where no certificate was asked for.
    """

    thresholds: tuple[float, ...]
    accuracy: float | None
    agreement: float | None
    mean_s: float
    energy_j: float | None
    macs: float | None
    exit_rates: tuple[float, ...]
    gap: float | None

    @classmethod
    def from_outcome(cls, thresholds: NDArray[np.float32], outcome: Outcome, gap: float | None) -> Policy:
        """Thresholds with their outcome."""
        return cls(
            thresholds=tuple(float(t) for t in thresholds),
            accuracy=outcome.accuracy,
            agreement=outcome.agreement,
            mean_s=outcome.mean_s,
            energy_j=outcome.energy_j,
            macs=outcome.macs,
            exit_rates=outcome.exit_rates,
            gap=gap,
        )

    @property
    def inner(self) -> NDArray[np.float32]:
        """The thresholds as an array, float32 [N-1]."""
        return np.array(self.thresholds, np.float32)

    @property
    def mean_cost(self) -> float:
        """Mean cost per inference: seconds; multiply-accumulates where the table has no seconds."""
        if self.macs is not None and math.isnan(self.mean_s):
            return self.macs
        return self.mean_s


def make_policy(problem: Problem, boundaries: Boundaries, gap: float | None) -> Policy:
    """Boundaries as a policy."""
    thresholds = problem.ranked.compute_thresholds(boundaries)
    return Policy.from_outcome(thresholds, problem.table.evaluate(thresholds), gap)


def certify_boundaries(problem: Problem, boundaries: Boundaries, effort: Effort) -> tuple[Boundaries, float | None]:
    """The boundaries, or better ones met while certifying them, and the gap as `Policy.gap` states it."""
    if len(boundaries) == 1 or (len(boundaries) == 2 and can_optimize_pairs(problem)):
        return boundaries, 0.0  # `find_best_boundaries` has swept the only pair
    if not effort.work:
        return boundaries, None
    bound, likely = compute_upper_bound(problem, boundaries, int(effort.work * 1e6))
    reached = problem.goal.sum_at_exits(problem.ranked.find_leaves(boundaries))
    if bound > reached and likely:
        small = len(problem.table) <= 2 * PART
        points = [refine(problem, point, PLANE_LEVELS) if small else point for point in likely]
        tried = max(points, key=lambda b: compute_rank_key(problem, b))
        if compute_rank_key(problem, tried) > compute_rank_key(problem, boundaries):
            boundaries = _sweep_pairs(problem, tried)
        reached = problem.goal.sum_at_exits(problem.ranked.find_leaves(boundaries))
    return boundaries, max(0.0, bound - reached) / problem.unit


def find_best_boundaries(problem: Problem, effort: Effort) -> Boundaries:
    """The best boundaries found, feasible if any are found to be."""
    if len(problem.ranked.ranks) == 1:
        return find_best_single_boundary(problem)
    starts = _find_starts(problem, effort)
    refined = {refine(problem, start, PLANE_LEVELS) for start in starts}
    best = max(sorted(refined), key=lambda b: compute_rank_key(problem, b))
    if problem.table.exits > FEW_EXITS and effort.every_pair:
        best = refine(problem, best, PLANE_LEVELS, _FAR_ROUNDS, every_pair=True)
    best = _sweep_pairs(problem, best)
    if problem.table.exits > FEW_EXITS:
        best = max([best, *_find_nearer_to_feasible(problem, best)], key=lambda b: compute_rank_key(problem, b))
    return best


def _find_nearer_to_feasible(problem: Problem, found: Boundaries) -> list[Boundaries]:
    """For each limit that the search could not keep: the boundaries that come furthest below it while the other limits hold."""
    leaves = problem.ranked.find_leaves(found)
    broken = [s for s in problem.limits if compute_excess(s.sum_at_exits(leaves), s) > 0]
    return [find_best_boundaries(_make_minimizing_problem(problem, limited), QUICK) for limited in broken]


def _make_minimizing_problem(problem: Problem, limited: SampleSum) -> Problem:
    """The problem with one limited sum as small as the other limits allow."""
    others = tuple(s for s in problem.limits if s is not limited)
    return replace(problem, goal=limited.negate(), tie=SampleSum(problem.table.mean_cost), limits=others)


def _find_starts(problem: Problem, effort: Effort) -> list[Boundaries]:
    """Good cells of a grid and the best of two simple families; where samples are many, those that a part of the samples likes best after
    refinement.
    """
    samples = len(problem.table)
    if samples <= 2 * PART:
        return _find_simple_starts(problem, effort)
    part = problem.take(np.arange(0, samples, samples // PART))
    refined = {refine(part, start, PLANE_LEVELS) for start in _find_simple_starts(part, effort)}
    best = sorted(refined, key=lambda b: compute_rank_key(part, b))[-PART_STARTS:]
    return [problem.ranked.find_boundaries(part.ranked.compute_thresholds(b)) for b in best]


def _find_simple_starts(problem: Problem, effort: Effort) -> list[Boundaries]:
    ranked = problem.ranked
    if problem.table.exits > FEW_EXITS:
        return _find_ascent_starts(problem, effort)
    cells = find_starting_points(problem, Grid.from_ranks(ranked), effort.starts)
    return cells if len(ranked.ranks) < MANY_EXITS or not effort.families else [*cells, *_find_family_starts(problem)]


def _find_family_starts(problem: Problem) -> list[Boundaries]:
    by_shares = find_best_member(problem, (make_geometric_boundaries(problem.ranked, q) for q in Q_VALUES))
    by_equal = find_best_member(problem, (make_equal_share_boundaries(problem.ranked, s) for s in SHARES))
    return [by_shares, by_equal]


def _find_ascent_starts(problem: Problem, effort: Effort) -> list[Boundaries]:
    """Many exits: the best points of an ascent, and with families the points that ascents from these reach at the same prices."""
    met, prices = optimize_prices(problem)
    if effort.families:
        met += [climb_at_prices(problem, prices, start) for start in _find_family_starts(problem)]
    return sorted(set(met), key=lambda b: compute_rank_key(problem, b))[-_ASCENDED_STARTS if effort.families else -1 :]


def _sweep_pairs(problem: Problem, start: Boundaries) -> Boundaries:
    """Exact sweeps over the pairs until none improves."""
    pairs = list(combinations(range(len(start)), 2))
    if len(pairs) > 1 and len(pairs) * len(problem.table) > SWEPT_SAMPLES:
        return start
    now, quiet, turn = start, 0, 0
    while quiet < len(pairs):
        j, k = pairs[turn % len(pairs)]
        tried = optimize_pair(problem, now, j, k)
        better = tried is not None and compute_rank_key(problem, tried) > compute_rank_key(problem, now)
        now, quiet, turn = (tried if better and tried else now), (1 if better else quiet + 1), turn + 1
    return now


def find_best_single_boundary(problem: Problem) -> Boundaries:
    """Two exits: every boundary at once."""
    ranks, top = problem.ranked.ranks[0], problem.ranked.tops[0]
    violation = np.zeros(top + 1)
    for limited in problem.limits:
        over = _evaluate_all_boundaries(limited, ranks, top) - (limited.limit + limited.slack)
        violation += np.maximum(0.0, over) / max(abs(limited.limit), 1e-12)
    goal = _evaluate_all_boundaries(problem.goal, ranks, top)
    goal[violation > violation.min()] = -np.inf
    best = np.flatnonzero(goal >= goal.max() - 1e-11 * max(1.0, abs(float(goal.max()))))
    tie = _evaluate_all_boundaries(problem.tie, ranks, top)[best]
    return (int(best[np.argmin(tie)]),)


def _evaluate_all_boundaries(quantity: SampleSum, ranks: NDArray[np.int32], top: int) -> Floats:
    """A sum of a two-exit network for every boundary 0..top."""
    values = quantity.expand_to_samples(len(ranks))
    passing = np.bincount(ranks, np.asarray(values[:, 1] - values[:, 0], np.float64), top)
    return np.asarray(values[:, 0].sum(dtype=np.float64) + np.concatenate([[0.0], np.cumsum(passing)]), np.float64)
