"""Optimality gap: an upper bound on all thresholds by branch and bound over boxes of boundaries.

Limits go into the goal with multipliers (any non-negative ones give a valid bound). Within a box most samples leave where they leave
whatever the thresholds; the others are bounded by terms of one and of two exits (`majorant`). The bound is loose only by samples that are
undecided at several exits at once, so it tightens faster than the box shrinks. Each box moves the multipliers of its halves towards what
makes its own bound less, by a Polyak step, so that boxes far below a limit do not pay for it.
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
        extent, decided: the box, and the sums of the samples that it decides.
        bound: upper bound of the goal; -inf where nothing in the box is feasible. best: the boundaries that the bound likes best.
        reached: the goal at `best` where it keeps all limits, else -inf.
        prices: multipliers for its halves, [limits].
        split: the axis to cut, and where; None for a single point.
    """

    extent: BoundaryRange
    decided: DecidedSums
    bound: float
    best: Indices
    reached: float
    prices: Floats
    split: tuple[int, int] | None


def compute_upper_bound(problem: Problem, boundaries: Boundaries, work: int) -> tuple[float, list[Boundaries]]:
    """An upper bound of the goal over all feasible boundaries, after looking at `work` undecided samples times exits.

    Also the points that the boxes with the highest bounds like best, and the best feasible one met: worth a try where the bound is above
    what is reached. With many exits boxes tighten too slowly, and the bound is that of `decomposition`.
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
    heap = [(-root.bound, next(order), root)]
    while heap and work > 0:
        box = heap[0][2]
        if priced.round_down(box.bound) <= reached or box.split is None:
            break
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
    """Decide what a box decides beyond what the box around it did, and bound the rest at its prices; `known` also has a good point, and
    the bound of the box around.
    """
    prices, point, above = known
    ranks = priced.ranks[:, before.undecided]
    undecided, first_sure = _find_undecided(ranks, extent)
    open_ = undecided.any(axis=0)
    decided = DecidedSums(
        before.sums + priced.sum_at_exits(first_sure[~open_], before.undecided[~open_]), before.undecided[open_]
    )
    ranks, undecided, first_sure = ranks[:, open_], undecided[:, open_], first_sure[open_]
    least = decided.sums + priced.sum_at_exits(undecided.argmax(axis=0), decided.undecided)
    if (least[1:] > priced.limits)[priced.rising].any():
        return SearchBox(extent, decided, -np.inf, extent.low, -np.inf, prices, None)
    if not len(first_sure):
        feasible = not (decided.sums[1:] > priced.limits).any()
        worth = float(decided.sums[0]) if feasible else -np.inf
        return SearchBox(extent, decided, min(worth, above), extent.low, worth, prices, None)
    start, delta = _telescope_sums(priced.weights(prices, decided.undecided), undecided, first_sure)
    samples = UndecidedSamples(ranks, undecided, delta)
    bound, best = samples.bound(point, *extent)
    bound += decided.sums[0] + start + float(prices @ (priced.limits - decided.sums[1:]))
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
    """Prices after a Polyak step towards a bound less by `gap`: up where the favourite is over a limit, down where it has room."""
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
    for k in reversed(range(axes)):
        sure = ranks[k] >= high[k]
        undecided[k] = (ranks[k] >= low[k]) & ~sure
        first_sure[sure] = k
    undecided &= np.arange(axes)[:, None] < first_sure
    return undecided, first_sure


def _telescope_sums(weights: Floats, undecided: NDArray[np.bool_], first_sure: Indices) -> tuple[float, Floats]:
    """Σ of the values at each sample's first possible exit, and δ [N-1, n]: what passing an undecided exit, and all before, adds."""
    after = weights[first_sure, np.arange(weights.shape[1])]
    delta = np.zeros(undecided.shape)
    for k in reversed(range(len(undecided))):
        here = undecided[k]
        np.subtract(after, weights[k], out=delta[k], where=here)
        np.copyto(after, weights[k], where=here)
    return float(after.sum()), delta


def _split(samples: UndecidedSamples, extent: BoundaryRange) -> tuple[int, int] | None:
    """Cut the exit with the most at stake among samples whose bound is loose, in the middle of them."""
    low, high = extent
    wide = high > low
    if not wide.any():
        return None
    loose = samples.find_loose_samples()
    stake = samples.undecided @ ((samples.gains - samples.losses).sum(axis=0) * loose)
    if not (stake * wide).any():
        stake, loose = samples.undecided.sum(axis=1).astype(np.float64), np.ones_like(loose)
    axis = int(np.argmax(np.where(wide, stake, -1.0)))
    here = samples.ranks[axis, loose & samples.undecided[axis]]
    at = int(np.partition(here, len(here) // 2)[len(here) // 2]) if len(here) else int(low[axis])
    return axis, min(max(at, int(low[axis])), int(high[axis]) - 1)


def fit_multipliers(problem: Problem, boundaries: Boundaries, cells: int = 2**14, turns: int = 4) -> list[float]:
    """A price per limit that makes the relaxed problem's best, over a grid and over the planes through `boundaries`, as small as possible;
    one price after the other by halving. With many exits they are those of `ascent`.
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
    """The λ >= 0 at which max(goal - λ·excess) is least."""
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
