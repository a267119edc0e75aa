"""Every combination of thresholds on a grid at once, by summed-area tables.

A sum over samples of value(i, exit) telescopes: Σ_i value(i, 1) + Σ_k T_k with T_k = Σ_i (value(i, k+1) - value(i, k))·[i passes exits
1..k]. T_k is a k-dimensional histogram of the samples' cells, summed up along each of its axes: O(N·M + N·cells) for all combinations, and
one table of each quantity answers every target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Floats
from edgeexit.calibration.solver.problem import Problem, scale
from edgeexit.calibration.solver.ranks import Boundaries, RankedScores, assign_cells, compute_quantile_levels
from edgeexit.calibration.sums import SampleSum

CELLS = 2**18
"""The most cells of a grid."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Levels (boundaries) per early exit, and the cell of every sample on each axis."""

    levels: tuple[NDArray[np.int64], ...]
    cells: tuple[NDArray[np.int64], ...]

    @classmethod
    def from_ranks(cls, ranked: RankedScores, most: int = CELLS) -> Grid:
        """A grid of at most about `most` cells, its levels at quantiles of the samples that plausibly get so far."""
        axes = len(ranked.ranks)
        count = max(3, int(most ** (1 / axes)))
        levels = tuple(
            compute_quantile_levels(ranks[alive], top, count)
            for ranks, top, alive in zip(ranked.ranks, ranked.tops, _estimate_survivors(ranked), strict=True)
        )
        placed = (assign_cells(r, lv, top) for r, lv, top in zip(ranked.ranks, levels, ranked.tops, strict=True))
        return cls(levels, tuple(placed))

    @property
    def shape(self) -> tuple[int, ...]:
        """Levels per axis."""
        return tuple(len(levels) for levels in self.levels)

    def table(self, quantity: SampleSum) -> Floats:
        """The value of a sum for every combination of levels."""
        values = quantity.expand_to_samples(len(self.cells[0]))
        total = np.zeros(self.shape)
        for k, (now, after) in enumerate(pairwise(values.T), 1):
            # T_k depends on the first k thresholds alone: the other axes are broadcast.
            term = _sum_passing(self.cells[:k], self.shape[:k], np.asarray(after - now, np.float64))
            total += term.reshape(term.shape + (1,) * (len(self.shape) - k))
        return np.asarray(total + values[:, 0].sum(dtype=np.float64))

    def boundaries(self, cell: int) -> Boundaries:
        """The boundaries of a cell, given its index into the raveled tables."""
        places = np.unravel_index(cell, self.shape)
        return tuple(int(levels[p]) for levels, p in zip(self.levels, places, strict=True))


def _estimate_survivors(ranked: RankedScores) -> list[NDArray[np.bool_]]:
    """For each early exit, the samples left when every exit before it lets an equal share of all leave, the most confident ones."""
    alive = np.ones(len(ranked.ranks[0]), np.bool_)
    leaving = len(alive) // (len(ranked.ranks) + 1)
    reached = []
    for ranks in ranked.ranks:
        reached.append(alive.copy())
        candidates = np.flatnonzero(alive)
        confident = candidates[np.argsort(-ranks[candidates], kind="stable")[:leaving]]
        alive[confident] = False
    return reached


def _sum_passing(placed: Sequence[NDArray[np.int64]], shape: tuple[int, ...], weights: Floats) -> Floats:
    """Σ of weights of the samples that pass all these exits, for every combination of their levels."""
    flat = np.ravel_multi_index(tuple(placed), shape)
    table = np.asarray(np.bincount(flat, weights, int(np.prod(shape))), np.float64).reshape(shape)
    for axis in range(len(shape)):
        # A sample in cell c passes the levels above c only, so each entry counts the cells strictly below it.
        np.cumsum(table, axis=axis, out=table)
        table = _make_exclusive(table, axis)
    return table


def _make_exclusive(table: Floats, axis: int) -> Floats:
    """A cumulative table made exclusive: entry p counts the cells below p."""
    out = np.zeros_like(table)
    head: list[slice] = [slice(None)] * table.ndim
    tail: list[slice] = [slice(None)] * table.ndim
    head[axis], tail[axis] = slice(1, None), slice(None, -1)
    out[tuple(head)] = table[tuple(tail)]
    return out


def find_starting_points(problem: Problem, grid: Grid, count: int) -> list[Boundaries]:
    """Up to `count` good cells that lie apart from each other: the best first, infeasible ones by how little they violate."""
    goal = grid.table(problem.goal).ravel()
    violation = np.zeros_like(goal)
    for limited in problem.limits:
        over = grid.table(limited).ravel() - limited.limit - limited.slack
        violation += np.maximum(0.0, over) / scale(limited)
    order = _sort_best_first(goal, violation)
    places = np.stack(np.unravel_index(order, grid.shape), axis=1)
    apart = np.maximum(1, np.array(grid.shape) // 6)
    chosen: list[int] = []
    left = np.ones(len(order), np.bool_)
    while len(chosen) < count and left.any():
        row = int(left.argmax())
        chosen.append(row)
        left &= (np.abs(places - places[row]) >= apart).any(axis=1)
    return [grid.boundaries(int(order[row])) for row in chosen]


def _sort_best_first(goal: Floats, violation: Floats, keep: int = 3000) -> NDArray[np.int64]:
    """Indices of the best cells: feasible ones by goal, then the others by violation."""
    feasible = np.flatnonzero(violation <= 0)
    if not len(feasible):
        return np.argsort(violation, kind="stable")[:keep]
    if len(feasible) > keep:
        feasible = feasible[np.argpartition(-goal[feasible], keep)[:keep]]
        feasible.sort()
    return np.asarray(feasible[np.argsort(-goal[feasible], kind="stable")], np.int64)
