"""How much better any thresholds could be: an upper bound by branch and bound over boxes of boundaries.

Limits go into the goal with multipliers (any non-negative ones give a valid bound). Within a box most samples leave where they leave
whatever the thresholds; for the others the value telescopes, value(1) + Σ_k δ_k Π_{j<=k} c_j with c_j = 1 where the sample passes exit j,
and every product is bounded above by a sum of single c_j that is exact at one chosen point of the box:

    δ > 0:  Π c <= c_m             for one m that is 0 at the point, or the last
    δ < 0:  Π c >= Σ c - (n - 1)   where all are 1 at the point; Π c >= 0 otherwise

What is left is one step function per threshold, whose maxima are found exactly. The bound is loose only by samples that are undecided at
two exits at once, so it tightens with the square of the box.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count as counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.grid import Grid
from edgeexit.calibration.pairs import Plane, planes_through
from edgeexit.calibration.problem import Problem
from edgeexit.calibration.ranks import Boundaries, Ranks
from edgeexit.calibration.replay import Floats, Indices

_PLANE_LEVELS = 64
_POINTS = 4
"""Points of a box at which the bound is made exact; the bounds are averaged as in fictitious play, which is again a bound."""

ROUND_UP = 1e-6
"""What rounding may have taken from a bound that counts samples."""


class Extent(NamedTuple):
    """The boundaries of a box, both included, [N-1]."""

    low: Indices
    high: Indices


class Settled(NamedTuple):
    """What a box has decided: Σ of the weights of the decided samples, their part of each rising limit, and the samples not decided."""

    fixed: float
    spent: Floats
    undecided: Indices


@dataclass(frozen=True, eq=False)
class Box:
    """A box of boundaries.

    Attributes:
        extent, settled: where it lies, and what it decides.
        bound: upper bound of the weighted sum; -inf where nothing in the box is feasible. best: the boundaries that the bound likes best.
        split: the axis to cut, and where; None for a single point.
    """

    extent: Extent
    settled: Settled
    bound: float
    best: Indices
    split: tuple[int, int] | None


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The problem with its limits as prices.

    Attributes:
        weights: [N, M] goal less priced sums. room: Σ multiplier·limit, to be added.
        ranks: [N-1, M]. whole: True where the goal counts samples, so that bounds may be rounded down.
        costs: [limits that rise with the exits, N]. limits: theirs.
    """

    weights: Floats
    room: float
    ranks: Ranks
    whole: bool
    costs: Floats
    limits: Floats

    @classmethod
    def of(cls, problem: Problem, boundaries: Boundaries) -> Relaxed:
        """Price the limits as the surroundings of the best boundaries known say."""
        prices = multipliers(problem, boundaries)
        samples = len(problem.table)
        weights = np.array(problem.goal.matrix(samples), np.float64)
        for price, limited in zip(prices, problem.limits, strict=True):
            weights -= price * limited.matrix(samples)
        room = sum(p * (s.limit + s.slack) for p, s in zip(prices, problem.limits, strict=True) if p)
        rising = [s for s in problem.limits if s.rises_with_exits]
        return cls(
            weights=np.ascontiguousarray(weights.T),
            room=float(room),
            ranks=np.stack(problem.ranked.ranks),
            whole=problem.goal.per_sample is not None,
            costs=np.array([s.per_exit for s in rising]).reshape(len(rising), problem.table.exits),
            limits=np.array([s.limit + s.slack for s in rising]),
        )

    def stated(self, bound: float) -> float:
        """A bound of the weighted sum as a bound of the goal."""
        value = bound + self.room
        return float(np.floor(value + ROUND_UP)) if self.whole and np.isfinite(value) else value


def upper_bound(problem: Problem, boundaries: Boundaries, work: int) -> tuple[float, list[Boundaries]]:
    """An upper bound of the goal over all feasible boundaries, after looking at `work` undecided samples times exits.

    Also the points that the boxes with the highest bounds like best: worth a try where the bound is above what is reached.
    """
    relaxed = Relaxed.of(problem, boundaries)
    reached = problem.goal.of(problem.ranked.leaves_at(boundaries))
    point, tops = np.array(boundaries, np.int64), np.array(problem.ranked.tops, np.int64)
    nothing = Settled(0.0, np.zeros(len(relaxed.limits)), np.arange(len(problem.table)))
    root = _bounded(relaxed, Extent(np.zeros_like(tops), tops), nothing, point)
    order = counter()
    heap = [(-root.bound, next(order), root)]
    while heap and work > 0:
        box = heap[0][2]
        if relaxed.stated(box.bound) <= reached or box.split is None:
            break
        heapq.heappop(heap)
        work -= 2 * max(len(box.settled.undecided), 200) * len(tops)
        for extent in _halves(box):
            part = _bounded(relaxed, extent, box.settled, point)
            if relaxed.stated(part.bound) > reached:
                heapq.heappush(heap, (-part.bound, next(order), part))
    bound = relaxed.stated(-heap[0][0]) if heap else reached
    likely = [tuple(int(b) for b in box.best) for _, _, box in heapq.nsmallest(4, heap)]
    return max(reached, bound), likely


def _halves(box: Box) -> tuple[Extent, Extent]:
    assert box.split is not None
    axis, at = box.split
    low, high = box.extent
    first, second = high.copy(), low.copy()
    first[axis], second[axis] = at, at + 1
    return Extent(low, first), Extent(second, high)


def _bounded(relaxed: Relaxed, extent: Extent, before: Settled, point: Indices) -> Box:
    """Decide what a box decides beyond what the box around it did, and bound the rest."""
    ranks, exits = relaxed.ranks[:, before.undecided], relaxed.costs.shape[1]
    undecided, first_sure = _decided(ranks, extent)
    ambiguous = undecided.sum(axis=0, dtype=np.int8)
    open_ = ambiguous > 0
    leaves, left = first_sure[~open_], before.undecided[~open_]
    settled = Settled(
        before.fixed + float(relaxed.weights[leaves, left].sum()),
        before.spent + relaxed.costs @ np.bincount(leaves, minlength=exits),
        before.undecided[open_],
    )
    cheapest = np.bincount(undecided[:, open_].argmax(axis=0), minlength=exits)
    if (settled.spent + relaxed.costs @ cheapest > relaxed.limits).any():
        return Box(extent, settled, -np.inf, extent.low, None)
    if not len(settled.undecided):
        return Box(extent, settled, settled.fixed, extent.low, None)
    ranks, undecided, ambiguous = ranks[:, open_], undecided[:, open_], ambiguous[open_]
    start, delta = _telescoped(relaxed.weights[:, settled.undecided], undecided, first_sure[open_])
    open_samples = Open(ranks, undecided, delta)
    bound, best = _averaged(open_samples, extent, point)
    return Box(extent, settled, settled.fixed + start + bound, best, _split(open_samples, ambiguous > 1, extent))


class Open(NamedTuple):
    """The undecided samples of a box, [N-1, n]: ranks, where each is undecided, and δ of passing there and at all before."""

    ranks: Ranks
    undecided: NDArray[np.bool_]
    delta: Floats


def _averaged(samples: Open, extent: Extent, point: Indices) -> tuple[float, Indices]:
    """The least of the bounds of Σ δ·Π c averaged over more and more points, each the last one's favourite; and its favourite."""
    rows = [np.flatnonzero(u) for u in samples.undecided]
    number = np.cumsum(samples.undecided, axis=0, dtype=np.int8)
    least, best = np.inf, extent.low
    at = np.clip(point, *extent)
    constant, single = 0.0, np.zeros(samples.delta.shape)
    for turn in range(_POINTS):
        stops = samples.undecided & (samples.ranks >= at[:, None])
        fresh, coefficients = _single_exits(samples, number, stops)
        share = 1 / (1 + turn)
        constant += share * (fresh - constant)
        single += share * (coefficients - single)
        bound, at = _maxima(single, samples.ranks, rows, extent)
        if bound + constant < least:
            least, best = bound + constant, at
    return least, best


def _decided(ranks: Ranks, extent: Extent) -> tuple[NDArray[np.bool_], Indices]:
    """Where each sample is undecided [N-1, n], and the first exit at which it leaves for sure [n]."""
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


def _telescoped(weights: Floats, undecided: NDArray[np.bool_], first_sure: Indices) -> tuple[float, Floats]:
    """Σ of the values at each sample's first possible exit, and δ [N-1, n]: what passing an undecided exit, and all before, adds."""
    after = weights[first_sure, np.arange(weights.shape[1])]
    delta = np.zeros(undecided.shape)
    for k in reversed(range(len(undecided))):
        here = undecided[k]
        np.subtract(after, weights[k], out=delta[k], where=here)
        np.copyto(after, weights[k], where=here)
    return float(after.sum()), delta


def _single_exits(samples: Open, number: NDArray[np.int8], stops: NDArray[np.bool_]) -> tuple[float, Floats]:
    """The bound as a constant and a coefficient of c_k per exit and sample [N-1, n], exact where samples stop as in `stops`."""
    axes, count = samples.delta.shape
    first_stop = np.where(stops.any(axis=0), stops.argmax(axis=0), axes)
    gains, losses = np.maximum(samples.delta, 0.0), np.minimum(samples.delta, 0.0)
    gain, loss, constant = np.zeros(count), np.zeros(count), 0.0
    for k in reversed(range(axes)):
        before = first_stop > k
        gain += gains[k]
        gains[k] *= before
        np.copyto(gains[k], gain, where=first_stop == k)
        lost = losses[k] * before
        loss += lost
        constant -= float(np.dot(lost, number[k] - 1.0))
        gains[k] += loss * samples.undecided[k]
    return constant, gains


def _maxima(single: Floats, ranks: Ranks, rows: list[Indices], extent: Extent) -> tuple[float, Indices]:
    """Σ over exits of the maximum, over its boundaries in the box, of Σ of the coefficients of the samples below the boundary."""
    low, high = extent
    total, where = 0.0, low.copy()
    for k, here in enumerate(rows):
        if not len(here):
            continue
        sums = np.cumsum(np.bincount(ranks[k, here] - low[k], single[k, here], int(high[k] - low[k])))
        best = int(sums.argmax())
        if sums[best] > 0:
            total += float(sums[best])
            where[k] = low[k] + best + 1
    return total, where


def _split(samples: Open, several: NDArray[np.bool_], extent: Extent) -> tuple[int, int] | None:
    """Cut the exit with the most at stake among samples undecided at several exits, in the middle of its samples."""
    (ranks, undecided, delta), (low, high) = samples, extent
    wide = high > low
    if not wide.any():
        return None
    stake = undecided @ (np.abs(delta).sum(axis=0) * several)
    if not (stake * wide).any():
        stake, several = undecided.sum(axis=1).astype(np.float64), np.ones_like(several)
    axis = int(np.argmax(np.where(wide, stake, -1.0)))
    here = ranks[axis, several & undecided[axis]]
    at = int(np.partition(here, len(here) // 2)[len(here) // 2]) if len(here) else int(low[axis])
    return axis, min(max(at, int(low[axis])), int(high[axis]) - 1)


def multipliers(problem: Problem, boundaries: Boundaries, cells: int = 2**14, turns: int = 4) -> list[float]:
    """A price per limit that makes the relaxed problem's best, over a grid and over the planes through `boundaries`, as small as possible;
    one price after the other by halving.
    """
    if not problem.limits:
        return []
    grid = Grid.of(problem.ranked, cells)
    places: list[Grid | Plane] = [grid, *planes_through(problem, boundaries, _PLANE_LEVELS)]
    goal, *over = (np.concatenate([p.table(s).ravel() for p in places]) for s in (problem.goal, *problem.limits))
    over = [excess - s.limit for excess, s in zip(over, problem.limits, strict=True)]
    prices = [0.0] * len(over)
    for _ in range(turns if len(over) > 1 else 1):
        for c, excess in enumerate(over):
            others = goal - sum(p * o for d, (p, o) in enumerate(zip(prices, over, strict=True)) if d != c and p)
            prices[c] = _best_price(others, excess)
    return prices


def _best_price(goal: Floats, excess: Floats) -> float:
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
