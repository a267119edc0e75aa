"""Optimality gap: an upper bound of the goal over all thresholds, by branch and bound over boxes of boundaries.

* Relaxation: the limits are added to the goal with multipliers (prices). Any non-negative prices give a valid bound; good ones a tight one.
* Bounding a box: most samples leave at the same exit for all boundaries of the box, so their sums are exact. The sums of the undecided ones
  are bounded by terms of one exit and of two exits (module `upper_bound`). Only samples undecided at several exits make the bound loose,
  so that it tightens faster than the box shrinks.
* Branching: the box with the largest bound is cut in two. Its halves get prices of their own, one Polyak step from its prices, so that a
  box far below a limit does not pay for that limit.

`docs/search.md` derives the bound and works through an example.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count as counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Floats, Indices
from edgeexit.calibration.solver.coordinate_ascent import optimize_prices
from edgeexit.calibration.solver.decomposition import compute_decomposed_bound
from edgeexit.calibration.solver.grid import Grid
from edgeexit.calibration.solver.lagrangian import LagrangianProblem
from edgeexit.calibration.solver.pairs import PairGrid, build_planes
from edgeexit.calibration.solver.problem import FEW_EXITS, Problem
from edgeexit.calibration.solver.ranks import Boundaries, Ranks
from edgeexit.calibration.solver.upper_bound import UndecidedSamples

_PLANE_LEVELS = 64
_LIKELY = 4
_CHARGE, _LEAST_CHARGED = 6, 400
"""Work of bounding the two halves of a box, per undecided sample and exit, and the least number of samples charged."""
_LARGEST_STEP = 0.3
"""The most that a multiplier changes from a box to its halves, as a share."""


class BoundaryRange(NamedTuple):
    """The boundaries of a box, both included, [N-1]."""

    low: Indices
    high: Indices


class DecidedSums(NamedTuple):
    """Sums that a box has decided: the goal's and each limit's sum over the decided samples [1 + limits], and the samples not decided."""

    sums: Floats
    undecided: Indices


@dataclass(frozen=True, eq=False)
class SearchBox:
    """A box of boundaries.

    Attributes:
        extent: the boundaries of the box.
        decided: the sums of the samples whose exit is the same everywhere in the box.
        bound: upper bound of the goal in the box; -inf where no boundaries of the box are feasible.
        best: boundaries [N-1] at which the upper bound is largest.
        reached: the goal at `best` if `best` keeps all limits, else -inf.
        prices: multipliers for the halves of the box, [limits].
        split: the exit at which to cut the box, and the last boundary of the lower half; None for a single point.
    """

    extent: BoundaryRange
    decided: DecidedSums
    bound: float
    best: Indices
    reached: float
    prices: Floats
    split: tuple[int, int] | None


def compute_upper_bound(problem: Problem, boundaries: Boundaries, work: int) -> tuple[float, list[Boundaries]]:
    """An upper bound of the goal over all feasible boundaries, and boundaries that may be better than the given ones.

    The latter are the best points of the boxes with the largest bounds, and the best feasible point met. With more than `FEW_EXITS` exits
    boxes tighten too slowly, and the bound is that of the module `decomposition`.

    Args:
        problem: the goal, the limits and the table.
        boundaries: a feasible policy; boxes that cannot beat it are dropped.
        work: the effort, as a number of undecided samples times exits.
    """
    if problem.table.exits > FEW_EXITS:
        return compute_decomposed_bound(problem, boundaries, fit_multipliers(problem, boundaries), work), []
    priced = LagrangianProblem.from_problem(problem)
    reached, met = problem.goal.sum_at_exits(problem.ranked.find_leaves(boundaries)), boundaries
    point, tops = np.array(boundaries, np.int64), np.array(problem.ranked.tops, np.int64)
    nothing = DecidedSums(np.zeros(len(priced.sums)), np.arange(len(problem.table)))
    prices = np.array(fit_multipliers(problem, boundaries))
    order = counter()
    root = _bound_box(priced, BoundaryRange(np.zeros_like(tops), tops), nothing, (prices, point, np.inf), reached)
    heap = [
        (-root.bound, next(order), root)
    ]  # largest bound first; `order` keeps boxes of the same bound from being compared
    while heap and work > 0:
        box = heap[0][2]
        if priced.round_down(box.bound) <= reached or box.split is None:
            break  # no box can be better than this one, and this one is no better than what is reached, or exact
        heapq.heappop(heap)
        work -= _CHARGE * max(len(box.decided.undecided), _LEAST_CHARGED) * len(tops)
        for extent in _split_box(box):
            part = _bound_box(priced, extent, box.decided, (box.prices, point, box.bound), reached)
            if part.reached > reached:
                reached, met = part.reached, _make_boundaries(part.best)
            if priced.round_down(part.bound) > reached:
                heapq.heappush(heap, (-part.bound, next(order), part))
    bound = priced.round_down(-heap[0][0]) if heap else reached
    likely = [_make_boundaries(box.best) for _, _, box in heapq.nsmallest(_LIKELY, heap)]
    return max(reached, bound), [*likely, *([met] if met != boundaries else [])]


def _make_boundaries(best: Indices) -> Boundaries:
    return tuple(int(b) for b in best)


def _split_box(box: SearchBox) -> tuple[BoundaryRange, BoundaryRange]:
    assert box.split is not None
    axis, at = box.split
    low, high = box.extent
    first, second = high.copy(), low.copy()
    first[axis], second[axis] = at, at + 1
    return BoundaryRange(low, first), BoundaryRange(second, high)


def _bound_box(
    priced: LagrangianProblem,
    extent: BoundaryRange,
    before: DecidedSums,
    known: tuple[Floats, Indices, float],
    reached: float,
) -> SearchBox:
    """Bound the goal in a box.

    Args:
        priced: the problem with its limits in the goal.
        extent: the box.
        before: what the enclosing box has decided; only its undecided samples are looked at.
        known: prices for this box [limits], a good point [N-1], and the bound of the enclosing box.
        reached: the goal of the best policy known, which scales the step of the prices.
    """
    prices, point, above = known
    ranks = priced.ranks[:, before.undecided]
    # Samples that this box decides and the enclosing one did not: their sums at the one exit where they can leave are exact.
    undecided, first_sure = _find_undecided(ranks, extent)
    open_ = undecided.any(axis=0)
    decided = DecidedSums(
        before.sums + priced.sum_at_exits(first_sure[~open_], before.undecided[~open_]), before.undecided[open_]
    )
    ranks, undecided, first_sure = ranks[:, open_], undecided[:, open_], first_sure[open_]
    # Costs that rise with the exit are least when every undecided sample leaves at the first exit it may leave at.
    least = decided.sums + priced.sum_at_exits(undecided.argmax(axis=0), decided.undecided)
    if (least[1:] > priced.limits)[priced.rising].any():
        return SearchBox(extent, decided, -np.inf, extent.low, -np.inf, prices, None)
    if not len(first_sure):
        feasible = not (decided.sums[1:] > priced.limits).any()
        worth = float(decided.sums[0]) if feasible else -np.inf
        return SearchBox(extent, decided, min(worth, above), extent.low, worth, prices, None)
    # The Lagrangian: the decided sums, the bound of the undecided ones, and the prices times what the decided samples leave of the limits.
    start, delta = _telescope_sums(priced.weights(prices, decided.undecided), undecided, first_sure)
    samples = UndecidedSamples(ranks, undecided, delta)
    bound, best = samples.bound(point, *extent)
    bound += decided.sums[0] + start + float(prices @ (priced.limits - decided.sums[1:]))
    # The point where the bound is largest, evaluated exactly: it may be a better policy, and it says which limits need higher prices.
    stops = undecided & (ranks >= best[:, None])
    leaves = np.where(stops.any(axis=0), stops.argmax(axis=0), first_sure)
    sums = decided.sums + priced.sum_at_exits(leaves, decided.undecided)
    over = sums[1:] - priced.limits
    return SearchBox(
        extent,
        decided,
        min(bound, above),
        best,
        float(sums[0]) if (over <= 0).all() else -np.inf,
        _step_prices(prices, over, bound - reached),
        _split(samples, extent),
    )


def _step_prices(prices: Floats, over: Floats, gap: float) -> Floats:
    """Prices after a Polyak step that aims at a bound less by `gap`.

    The negative excess over the limits is a subgradient of the bound, so a price rises where the point of the largest bound breaks the
    limit (Polyak 1969, "Minimization of unsmooth functionals").
    """
    steepness = float(over @ over)
    if gap <= 0 or not steepness:
        return prices
    step = gap * over / steepness
    most = _LARGEST_STEP * np.maximum(prices, 1e-3 * prices.max(initial=0.0))
    return np.asarray(np.maximum(prices + np.clip(step, -most, most), 0.0), np.float64)


def _find_undecided(ranks: Ranks, extent: BoundaryRange) -> tuple[NDArray[np.bool_], Indices]:
    """At which exits each sample is undecided [N-1, n], and the first exit at which it leaves for sure [n]."""
    axes, samples = ranks.shape
    low, high = extent
    undecided = np.zeros((axes, samples), np.bool_)
    first_sure = np.full(samples, axes, np.int64)
    for k in reversed(range(axes)):  # backwards, so that the earliest exit is written last
        sure = ranks[k] >= high[k]  # leaves at exit k, if it gets there, at every boundary of the box
        undecided[k] = (ranks[k] >= low[k]) & ~sure
        first_sure[sure] = k
    undecided &= np.arange(axes)[:, None] < first_sure
    return undecided, first_sure


def _telescope_sums(weights: Floats, undecided: NDArray[np.bool_], first_sure: Indices) -> tuple[float, Floats]:
    """The sum of a sample's value over its exits, written as a start and differences.

    Returns:
        Σ over samples of the value at the first exit where the sample may leave; and δ [N-1, n], what is added when it passes an undecided
        exit and all undecided exits before. δ is 0 at exits where it is not undecided.
    """
    # Backwards from the exit where it leaves for sure: δ of an exit is the value at its next possible exit less the value here.
    after = weights[first_sure, np.arange(weights.shape[1])]
    delta = np.zeros(undecided.shape)
    for k in reversed(range(len(undecided))):
        here = undecided[k]
        np.subtract(after, weights[k], out=delta[k], where=here)
        np.copyto(after, weights[k], where=here)
    return float(after.sum()), delta


def _split(samples: UndecidedSamples, extent: BoundaryRange) -> tuple[int, int] | None:
    """The exit with the most at stake among the samples whose bound is loose, and the median of their ranks there."""
    low, high = extent
    wide = high > low
    if not wide.any():
        return None
    loose = samples.find_loose_samples()
    stake = samples.undecided @ ((samples.gains - samples.losses).sum(axis=0) * loose)
    if not (stake * wide).any():
        stake, loose = samples.undecided.sum(axis=1).astype(np.float64), np.ones_like(loose)
    axis = int(np.argmax(np.where(wide, stake, -1.0)))
    # At the median: each half decides half of these samples.
    here = samples.ranks[axis, loose & samples.undecided[axis]]
    at = int(np.partition(here, len(here) // 2)[len(here) // 2]) if len(here) else int(low[axis])
    return axis, min(max(at, int(low[axis])), int(high[axis]) - 1)


def fit_multipliers(problem: Problem, boundaries: Boundaries, cells: int = 2**14, turns: int = 4) -> list[float]:
    """Prices [limits] that make the largest value of the relaxed problem small.

    The largest value is taken over a grid and over the planes through `boundaries`, and minimised in one price after the other by
    bisection.
    With more than `FEW_EXITS` exits the prices are those of the module `coordinate_ascent`.

    Args:
        problem: the goal and the limits.
        boundaries: a policy; pairs of its boundaries are varied.
        cells: the most cells of the grid.
        turns: rounds over the prices, where there are two or more.
    """
    if not problem.limits:
        return []
    if problem.table.exits > FEW_EXITS:
        return [float(p) for p in optimize_prices(problem)[1]]
    grid = Grid.from_ranks(problem.ranked, cells)
    places: list[Grid | PairGrid] = [grid, *build_planes(problem, boundaries, _PLANE_LEVELS)]
    goal, *over = (np.concatenate([p.table(s).ravel() for p in places]) for s in (problem.goal, *problem.limits))
    over = [excess - s.limit for excess, s in zip(over, problem.limits, strict=True)]
    prices = [0.0] * len(over)
    for _ in range(turns if len(over) > 1 else 1):
        for c, excess in enumerate(over):
            others = goal - sum(p * o for d, (p, o) in enumerate(zip(prices, over, strict=True)) if d != c and p)
            prices[c] = _find_best_price(others, excess)
    return prices


def _find_best_price(goal: Floats, excess: Floats) -> float:
    """The λ >= 0 at which max(goal - λ·excess) is least: a convex function of λ whose slope is minus the excess at its maximum."""
    if excess[np.argmax(goal)] <= 0:
        return 0.0
    high = float(np.ptp(goal)) / (float(np.ptp(excess)) or 1.0)
    for _ in range(60):
        if excess[np.argmax(goal - high * excess)] <= 0:
            break
        high *= 2
    low = 0.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if excess[np.argmax(goal - middle * excess)] > 0 else (low, middle)
    return high
