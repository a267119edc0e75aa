"""Thresholds for any number of exits by coordinate ascent: limits become prices, and each threshold in turn moves to its best place.

With the limits priced and all other thresholds held, the best boundary of one exit is the largest entry of a cumulative sum over the
samples that reach it, so a sweep over all N-1 thresholds costs O(N·M). The prices are found by halving, each run starting where the one
before ended. What this leaves, the exchange between two thresholds at a limit, is then refined pair by pair (`pairs`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgeexit.calibration.replay import Floats, Indices
from edgeexit.calibration.solver.lagrangian import LagrangianProblem
from edgeexit.calibration.solver.problem import Problem
from edgeexit.calibration.solver.ranks import Boundaries, RankedScores, Ranks

_SWEEPS = 50
_RAISES, _HALVINGS = 6, 18
_TURNS = 3
"""Number of halvings of every price if there are several limits."""
_PRICE_RANGE = 1e2, 1e-3
_LEAST = 1e-12
"""The smallest relative improvement for which a threshold moves."""


def climb(ranked: RankedScores, weights: Floats, start: Boundaries) -> Boundaries:
    """Boundaries from `start` on at which no single one can be moved to raise Σ weights[exit, sample]; weights are [N, M]."""
    now, reached = start, -np.inf
    for _ in range(_SWEEPS):
        now, total = _sweep_back(ranked, weights, now)
        if total <= reached + _LEAST * abs(total):
            break
        reached = total
    return now


def _sweep_back(ranked: RankedScores, weights: Floats, start: Boundaries) -> tuple[Boundaries, float]:
    """Each threshold at its best, from the last exit to the first, and the sum then."""
    now, reach = list(start), _find_reaching(ranked, start)
    after = weights[-1].copy()
    for k in reversed(range(len(now))):
        here = reach[k]
        gains = after[here] - weights[k, here]
        now[k] = _find_best_boundary(ranked.ranks[k][here], ranked.tops[k], gains, now[k])
        np.copyto(after, weights[k], where=ranked.ranks[k] >= now[k])
    return tuple(now), float(after.sum())


def _find_reaching(ranked: RankedScores, boundaries: Boundaries) -> list[Indices]:
    """The samples that reach each early exit."""
    reach = [np.arange(len(ranked.ranks[0]))]
    for ranks, boundary in zip(ranked.ranks[:-1], boundaries[:-1], strict=True):
        reach.append(reach[-1][ranks[reach[-1]] < boundary])
    return reach


def _find_best_boundary(ranks: Ranks, top: int, gains: Floats, current: int) -> int:
    """The boundary that lets pass the samples whose gains sum to the most; the current one where none is better."""
    passing = np.concatenate([[0.0], np.cumsum(np.bincount(ranks, gains, top))])
    best = int(passing.argmax())
    return best if passing[best] > passing[current] + _LEAST * abs(passing[best]) else current


@dataclass(eq=False)
class _Ascent:
    """Ascents of one problem at changing prices, each from where the one before ended."""

    problem: Problem
    priced: LagrangianProblem
    samples: Indices
    now: Boundaries
    visited: dict[Boundaries, Floats] = field(default_factory=dict)

    @classmethod
    def from_problem(cls, problem: Problem) -> _Ascent:
        middle = tuple((top + 1) // 2 for top in problem.ranked.tops)
        return cls(problem, LagrangianProblem.from_problem(problem), np.arange(len(problem.table)), middle)

    def excess(self, prices: Floats) -> Floats:
        """Ascend at these prices; by how much each limit is exceeded there, [limits]."""
        self.now = climb(self.problem.ranked, self.priced.weights(prices), self.now)
        if self.now not in self.visited:
            leaves = self.problem.ranked.find_leaves(self.now)
            self.visited[self.now] = self.priced.sum_at_exits(leaves, self.samples)[1:] - self.priced.limits
        return self.visited[self.now]

    def best_price(self, prices: Floats, which: int) -> float:
        """The price of one limit at which it is just kept, the other prices held."""

        def exceeded(price: float) -> bool:
            trial = prices.copy()
            trial[which] = price
            return bool(self.excess(trial)[which] > 0)

        if not exceeded(0.0):
            return 0.0
        low, high = 0.0, self.compute_price_unit(which)
        for _ in range(_RAISES):
            if not exceeded(high):
                break
            low, high = high, 4 * high
        else:
            return high  # no price keeps this limit
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if exceeded(middle) else (low, middle)
        return high

    def compute_price_unit(self, which: int) -> float:
        """The price at which the whole range of a limited sum weighs as much as that of the goal."""
        goal, limited = (float(np.ptp(v)) for v in (self.priced.sums[0], self.priced.sums[1 + which]))
        return goal / limited if goal and limited else 1.0


def optimize_prices(problem: Problem) -> tuple[list[Boundaries], Floats]:
    """Boundaries met on the way to prices at which the limits are just kept, and these prices [limits]."""
    search, prices = _Ascent.from_problem(problem), np.zeros(len(problem.limits))
    search.excess(prices)
    for _ in range(_TURNS if len(prices) > 1 else 1):
        for which in range(len(prices)):
            prices[which] = search.best_price(prices, which)
    search.excess(prices)
    return list(search.visited), prices


def run_ascents(problem: Problem, count: int) -> list[Boundaries]:
    """End points of ascents at `count` prices of the first limit, from one at which it outweighs the goal by far down to almost nothing."""
    search, prices = _Ascent.from_problem(problem), np.zeros(len(problem.limits))
    for factor in np.geomspace(*_PRICE_RANGE, count):
        prices[0] = factor * search.compute_price_unit(0)
        search.excess(prices)
    return list(search.visited)


def climb_at_prices(problem: Problem, prices: Floats, start: Boundaries) -> Boundaries:
    """End point of an ascent from `start` at given prices."""
    return climb(problem.ranked, LagrangianProblem.from_problem(problem).weights(prices), start)
