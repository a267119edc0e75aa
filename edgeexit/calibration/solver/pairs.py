"""Two thresholds at a time, the others held.

The value of a sample is then a step function of the two thresholds, so that one summed-area table gives the sums for all combinations.
The limits are checked on the sums themselves: without multipliers there is no duality gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Floats, Indices
from edgeexit.calibration.solver.problem import FEW_EXITS, Problem, scale
from edgeexit.calibration.solver.ranks import Boundaries, RankedScores, assign_cells, compute_quantile_levels
from edgeexit.calibration.sums import SampleSum


@dataclass(frozen=True, eq=False)
class ThresholdPair:
    """How each sample depends on the thresholds of exits j < k (from 0), the others held.

    Attributes:
        gone: indices of samples that leave before j, whatever the two thresholds.
        gone_at: the exits where they leave.
        held: indices of samples that reach j and, if they pass it, leave between j and k.
        held_at: the exits where they leave if they pass j.
        free: indices of samples that reach j and, if they pass it, reach k.
        free_at: the exits where they leave if they pass k too.
    """

    j: int
    k: int
    gone: Indices
    gone_at: Indices
    held: Indices
    held_at: Indices
    free: Indices
    free_at: Indices

    @classmethod
    def from_boundaries(cls, ranked: RankedScores, boundaries: Boundaries, j: int, k: int) -> ThresholdPair:
        """Split the samples for this pair."""
        last, everyone = len(ranked.ranks), np.arange(len(ranked.ranks[0]))
        at = np.full(len(everyone), last, np.int64)
        reach = _find_passing(ranked, boundaries, range(j), everyone, at)
        gone = np.flatnonzero(at < j)
        free = _find_passing(ranked, boundaries, range(j + 1, k), reach, at)
        held = reach[at[reach] < k]
        _find_passing(ranked, boundaries, range(k + 1, last), free, at)
        return cls(j, k, *(array for part in (gone, held, free) for array in (part, at[part])))

    def base(self, quantity: SampleSum) -> float:
        """The sum when all that reach j leave there."""
        reach = np.concatenate([self.held, self.free])
        start = quantity.get_values(self.gone_at, self.gone).sum(dtype=np.float64)
        return float(start + quantity.get_values(np.full(len(reach), self.j), reach).sum(dtype=np.float64))

    def steps(self, quantity: SampleSum) -> tuple[Floats, Floats, Floats]:
        """Change by passing j, for `held` and for `free`, and by also passing k for `free`."""
        at_j_held = quantity.get_values(np.full(len(self.held), self.j), self.held)
        at_j_free = quantity.get_values(np.full(len(self.free), self.j), self.free)
        at_k_free = quantity.get_values(np.full(len(self.free), self.k), self.free)
        held = quantity.get_values(self.held_at, self.held) - at_j_held
        after = quantity.get_values(self.free_at, self.free) - at_k_free
        return (np.asarray(a, np.float64) for a in (held, at_k_free - at_j_free, after))  # type: ignore[return-value]


def _find_passing(ranked: RankedScores, boundaries: Boundaries, exits: range, samples: Indices, at: Indices) -> Indices:
    """The samples that pass all these exits; where the others leave is written into `at`."""
    for m in exits:
        stops = ranked.ranks[m][samples] >= boundaries[m]
        at[samples[stops]] = m
        samples = samples[~stops]
    return samples


@dataclass(frozen=True, eq=False)
class PairGrid:
    """A pair on given levels: cells of its samples, ready to make the table of any sum."""

    pair: ThresholdPair
    levels_j: NDArray[np.int64]
    levels_k: NDArray[np.int64]
    held_j: Indices
    free_j: Indices
    free_jk: Indices

    @classmethod
    def from_pair(
        cls, ranked: RankedScores, pair: ThresholdPair, levels_j: NDArray[np.int64], levels_k: NDArray[np.int64]
    ) -> PairGrid:
        """Place the samples on the levels."""
        in_j = assign_cells(ranked.ranks[pair.j], levels_j, ranked.tops[pair.j])
        in_k = assign_cells(ranked.ranks[pair.k], levels_k, ranked.tops[pair.k])
        free_j = in_j[pair.free]
        return cls(pair, levels_j, levels_k, in_j[pair.held], free_j, free_j * len(levels_k) + in_k[pair.free])

    def table(self, quantity: SampleSum) -> Floats:
        """The sum for every combination of the two levels, [levels_j, levels_k]."""
        rows, columns = len(self.levels_j), len(self.levels_k)
        held, passing_j, passing_k = self.pair.steps(quantity)
        line = np.bincount(self.held_j, held, rows) + np.bincount(self.free_j, passing_j, rows)
        table = np.zeros((rows, columns))
        # Entry (p, q) counts the samples in cells below p and below q: the sums are written one place further on each axis.
        counted = np.bincount(self.free_jk, passing_k, rows * columns).reshape(rows, columns)[:-1, :-1]
        np.cumsum(counted, axis=0, out=table[1:, 1:])
        np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
        # What depends on j alone is the same in every column.
        table[1:] += np.cumsum(line)[:-1, None]
        table += self.pair.base(quantity)
        return table


def find_best_on_plane(problem: Problem, plane: PairGrid) -> tuple[int, int]:
    """The boundaries of j and k that are best on a plane: feasible before infeasible, then by goal, then by tie."""
    violation = np.zeros((len(plane.levels_j), len(plane.levels_k)))
    for limited in problem.limits:
        over = plane.table(limited) - (limited.limit + limited.slack)
        violation += np.maximum(0.0, over, out=over) / scale(limited)
    goal = plane.table(problem.goal)
    least = violation.min()
    goal[violation > least] = -np.inf
    most = goal.max()
    # Sums in another order differ in their last digits: what is so near counts as a tie.
    best = np.flatnonzero(goal.ravel() >= most - 1e-11 * max(1.0, abs(most)))
    if len(best) > 1:
        best = best[np.argsort(plane.table(problem.tie).ravel()[best], kind="stable")]
    row, column = divmod(int(best[0]), len(plane.levels_k))
    return int(plane.levels_j[row]), int(plane.levels_k[column])


NEAR = 3
"""With many exits only pairs at most this far apart are looked at, unless asked: 465 pairs of 32 exits become 90."""


def list_near_pairs(axes: int) -> list[tuple[int, int]]:
    """The pairs of early exits (from 0) worth refining: all of them where exits are few, neighbours where they are many."""
    few = axes < FEW_EXITS  # the last exit has no threshold
    return [(j, k) for j, k in combinations(range(axes), 2) if few or k - j <= NEAR]


def build_planes(problem: Problem, boundaries: Boundaries, levels: int) -> list[PairGrid]:
    """The planes of all near pairs through a point, on about `levels` per axis."""
    ranked, planes = problem.ranked, []
    for j, k in list_near_pairs(len(boundaries)):
        pair = ThresholdPair.from_boundaries(ranked, boundaries, j, k)
        planes.append(
            PairGrid.from_pair(
                ranked, pair, *(_choose_levels(ranked, pair, axis, boundaries[axis], levels) for axis in (j, k))
            )
        )
    return planes


def refine(
    problem: Problem, start: Boundaries, levels: int, rounds: int = 12, *, every_pair: bool = False
) -> Boundaries:
    """Improve pair after pair until none improves, each on `levels` per axis: half spread over all, half the nearest distinct scores.

    The pairs are the near ones, or all with `every_pair`.
    """
    ranked, now, quiet = problem.ranked, start, 0
    pairs = list(combinations(range(len(start)), 2)) if every_pair else list_near_pairs(len(start))
    for turn in range(rounds * len(pairs)):
        j, k = pairs[turn % len(pairs)]
        pair = ThresholdPair.from_boundaries(ranked, now, j, k)
        plane = PairGrid.from_pair(
            ranked, pair, *(_choose_levels(ranked, pair, axis, now[axis], levels) for axis in (j, k))
        )
        at_j, at_k = find_best_on_plane(problem, plane)
        changed = tuple(at_j if m == j else at_k if m == k else b for m, b in enumerate(now))
        quiet = quiet + 1 if changed == now else 0
        now = changed
        if quiet == len(pairs):
            break
    return now


def _choose_levels(ranked: RankedScores, pair: ThresholdPair, axis: int, current: int, count: int) -> NDArray[np.int64]:
    """Boundaries to try on an axis: quantiles of the samples that get there, and the distinct scores next to the current one."""
    ranks, top = ranked.ranks[axis], ranked.tops[axis]
    there = ranks[pair.free] if axis == pair.k else ranks[np.concatenate([pair.held, pair.free])]
    marked = np.zeros(top + 1, np.bool_)
    marked[there] = True
    distinct = np.flatnonzero(marked)
    if len(distinct) <= count:
        return np.unique(np.concatenate([[0, top, current], distinct]))
    at = int(np.searchsorted(distinct, current))
    near = distinct[max(0, at - count // 4) : at + count // 4]
    return np.unique(np.concatenate([compute_quantile_levels(there, top, count // 2), near, [current]]))
