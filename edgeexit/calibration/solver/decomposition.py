"""An upper bound of what any thresholds can reach, for any number of exits, by Lagrangian decomposition.

Thresholds tie the samples together: at one exit, all that are at least as confident leave. Two easy problems come from cutting that tie.
Each sample chooses by itself at which exits it would stop, and each exit chooses a threshold by itself; multipliers h [N-1, M] charge a
sample for a stop and pay the exit for it. For a sample that leaves at exit e,

    sample   max over e of  w_e - h_e - Σ_{k>e} min(0, h_k)        (later stops change nothing, so it takes those that pay)
    exit k   max over boundaries b of  Σ over samples with rank >= b of  h_k

and any h gives a valid bound, as does any price >= 0 of the limits in w. The sum is convex in both; it is minimised by subgradient steps
with momentum, which move the two sides towards agreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeexit.calibration.replay import Bools, Floats, Indices
from edgeexit.calibration.solver.lagrangian import LagrangianProblem
from edgeexit.calibration.solver.problem import Problem, scale
from edgeexit.calibration.solver.ranks import Boundaries, RankedScores

COST = 0.1
"""Work of one round per sample and exit, in the unit of `Effort.work`."""
_FEWEST_ROUNDS, _MOST_ROUNDS = 20, 1000
_STEP = 0.05
"""The first step, as a share of the mean spread of a sample's weights; it falls linearly to 0."""
_PRICE_STEP = 0.1
_MOMENTUM = 0.9
_LEAST_PRICE, _MOST_PRICE = 1e-4, 1e2
"""Prices start within these multiples of what makes a limit's range weigh as much as the goal's: they can grow and fall from there."""


def compute_decomposed_bound(problem: Problem, boundaries: Boundaries, prices: Sequence[float], work: int) -> float:
    """An upper bound of the goal's sum over all boundaries that keep the limits.

    Args:
        problem: what is bounded.
        boundaries: good ones; the bound stops being tightened where it is reached.
        prices: where the prices of the limits start, [limits].
        work: samples times exits that may be looked at.
    """
    state = _Decomposition.from_prices(problem, prices)
    reached = problem.goal.sum_at_exits(problem.ranked.find_leaves(boundaries))
    rounds = int(np.clip(work / (COST * state.multipliers.size), _FEWEST_ROUNDS, _MOST_ROUNDS))
    least = _compute_unpriced_bound(state.priced)
    for done in range(rounds):
        least = min(least, state.priced.round_down(state.move(1 - done / rounds)))
        if least <= reached:
            break
    return max(reached, least)


def _compute_unpriced_bound(priced: LagrangianProblem) -> float:
    """The bound without limits and multipliers: every sample leaves where it is worth most. Prices that are far off cannot exceed it."""
    return priced.round_down(float(priced.weights(np.zeros(len(priced.limits))).max(axis=0).sum()))


@dataclass(eq=False)
class _Decomposition:
    """The multipliers [N-1, M] and the prices [limits], and the direction in which each moves."""

    problem: Problem
    priced: LagrangianProblem
    multipliers: Floats
    direction: Floats
    prices: Floats
    price_direction: Floats
    scales: Floats
    step: float

    @classmethod
    def from_prices(cls, problem: Problem, prices: Sequence[float]) -> _Decomposition:
        """Multipliers of 0: every sample leaves where it likes best."""
        priced = LagrangianProblem.from_problem(problem)
        ranges = [float(np.ptp(v)) or 1.0 for v in priced.sums]
        units = [ranges[0] / r for r in ranges[1:]]
        start = np.array([np.clip(p, _LEAST_PRICE * u, _MOST_PRICE * u) for p, u in zip(prices, units, strict=True)])
        spread = float(np.ptp(priced.weights(start), axis=0).mean())
        shape = priced.ranks.shape
        scales = np.array([scale(s) for s in problem.limits])
        zeros = np.zeros(shape), np.zeros(shape), np.zeros(len(start))
        return cls(problem, priced, zeros[0], zeros[1], start, zeros[2], scales, _STEP * spread)

    def move(self, share: float) -> float:
        """The bound at the present multipliers and prices; then `share` of a full step towards a lower one."""
        weights = self.priced.weights(self.prices)
        alone, leaves = _maximize_by_sample(weights, self.multipliers)
        value, stops = _maximize_by_exit(self.problem.ranked, self.multipliers)
        bound = float(alone.sum()) + value + float(self.prices @ self.priced.limits)
        axes = np.arange(len(stops))[:, None]
        wanted = (axes == leaves) | ((axes > leaves) & (self.multipliers < 0))
        self.direction *= _MOMENTUM
        self.direction += (1 - _MOMENTUM) * (stops.astype(np.float64) - wanted)
        self.multipliers -= share * self.step * self.direction
        self._move_prices(leaves, share)
        return bound

    def _move_prices(self, leaves: Indices, share: float) -> None:
        over = (self.priced.sum_at_exits(leaves, np.arange(len(leaves)))[1:] - self.priced.limits) / self.scales
        self.price_direction += (1 - _MOMENTUM) * (np.clip(over, -1, 1) - self.price_direction)
        self.prices = np.asarray(self.prices * np.exp(share * _PRICE_STEP * self.price_direction), np.float64)


def _maximize_by_sample(weights: Floats, multipliers: Floats) -> tuple[Floats, Indices]:
    """The most that each sample can be worth by itself, and the exit at which it then leaves, [M]."""
    best, leaves = weights[-1].copy(), np.full(weights.shape[1], len(multipliers))
    later = np.zeros(len(best))
    for k in reversed(range(len(multipliers))):
        value = weights[k] - multipliers[k] - later
        better = value > best
        np.copyto(best, value, where=better)
        leaves[better] = k
        later += np.minimum(multipliers[k], 0.0)  # a stop after the exit changes nothing, and is taken where it pays
    return best, leaves


def _maximize_by_exit(ranked: RankedScores, multipliers: Floats) -> tuple[float, Bools]:
    """The most that the thresholds can earn, each by itself, and who stops at them, [N-1, M]."""
    total, stops = 0.0, np.empty(multipliers.shape, np.bool_)
    for k, (ranks, top) in enumerate(zip(ranked.ranks, ranked.tops, strict=True)):
        earned = np.cumsum(np.bincount(ranks, multipliers[k], top)[::-1])
        best = int(earned.argmax())  # the highest best + 1 ranks stop: the boundary is top - 1 - best
        stops[k] = ranks >= (top - 1 - best if earned[best] > 0 else top)
        total += max(0.0, float(earned[best]))
    return total, stops
