"""An upper bound of Σ over samples of a decision list, over a box of boundaries.

A sample that is undecided at exits k1 < k2 < ... is worth Σ_t δ_t Π_{s<=t} c_s, c_s = 1 where it passes exit k_s and s_s = 1 - c_s where it
stops there. Every product is bounded by terms of one exit or of two exits joined by a tree over the exits, exactly at one chosen point:

    δ > 0:  Π c <= c_a c_b  for a joined pair of which one stops at the point, or  Π c <= c_a
    δ < 0:  Π c >= 1 - Σ s + Σ_{joined pairs} s_a s_b  (Hunter 1976, "An upper bound for the probability of a union"), or  Π c >= 0

The maximum of such a sum over all boundaries of the box is found by dynamic programming along the tree, on cells of neighbouring
boundaries; what a cell leaves open is taken at its best. Bounds that are exact at several points are averaged, as in fictitious play: again
a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Bools, Floats, Indices
from edgeexit.calibration.solver.ranks import Ranks

_FEWEST_CELLS = 64
_CELLS_PER_ROOT = 2.0
"""Cells per exit, times the square root of the samples: a table of two exits then costs about as much as its samples."""
_POINTS = 4
"""Points of a box at which the bound is made exact."""


class ExitPair(NamedTuple):
    """Two exits joined, a before b."""

    a: int
    b: int


class BoundTerms(NamedTuple):
    """A bound: a constant, and coefficients of s_k [N-1, n], of c_a c_b (>= 0) and of s_a s_b (<= 0) [edges, n]."""

    constant: float
    stop: Floats
    both_pass: Floats
    both_stop: Floats

    def shift_share(self, other: BoundTerms, share: float) -> BoundTerms:
        """A share of the way to another bound."""
        return BoundTerms(
            self.constant + share * (other.constant - self.constant),
            self.stop + share * (other.stop - self.stop),
            self.both_pass + share * (other.both_pass - self.both_pass),
            self.both_stop + share * (other.both_stop - self.both_stop),
        )


@dataclass(frozen=True, eq=False)
class ExitAxis:
    """The boundaries of one exit in a box, in classes that differ for an undecided sample, and cells of neighbouring classes.

    Attributes:
        rows: indices of the samples that are undecided at this exit.
        place: of every sample the place of its rank among the distinct ranks, [n]; it stops at boundary class c when place >= c.
        values: the distinct ranks of the undecided samples.
        starts: the first class of each cell; classes are 0..len(values).
        may_pass: the first cell in which a sample may pass, [n]; in the cells before it stops for sure.
    """

    rows: Indices
    place: Indices
    values: Indices
    starts: Indices
    may_pass: Indices

    @classmethod
    def from_ranks(cls, ranks: NDArray[np.int32], undecided: Bools) -> ExitAxis:
        """Number the ranks of the undecided samples."""
        rows = np.flatnonzero(undecided)
        marked = np.zeros(int(ranks.max()) + 2, np.int64)
        marked[ranks[rows]] = 1
        values = np.flatnonzero(marked)
        place = (np.cumsum(marked) - 1)[ranks]
        classes = len(values) + 1
        cells = min(classes, max(_FEWEST_CELLS, int(_CELLS_PER_ROOT * len(ranks) ** 0.5)))
        starts = np.arange(cells) * classes // cells  # cells of nearly as many classes each
        last = np.append(starts[1:], classes) - 1
        # A sample passes at the classes above its place: the first cell whose last class is above it is the first that lets it pass.
        every = np.arange(-1, classes)
        may_pass = np.searchsorted(last, every, side="right")[place + 1]
        return cls(rows, place, values, starts, may_pass)

    def line(self, stop: Floats) -> Floats:
        """Σ of the coefficients of the samples that stop, for every class of boundaries."""
        counted = np.bincount(self.place[self.rows], stop[self.rows], len(self.values) + 1)
        return np.asarray(np.cumsum(counted[::-1])[::-1], np.float64)  # it stops at every class up to its place

    def boundary(self, cell: int, line: Floats, high: int) -> int:
        """The best boundary of a cell by the bound `line`; `high` stands for one above all ranks."""
        end = int(self.starts[cell + 1]) if cell + 1 < len(self.starts) else len(line)
        best = int(self.starts[cell]) + int(line[self.starts[cell] : end].argmax())
        return int(self.values[best]) if best < len(self.values) else high


class UndecidedSamples:
    """The undecided samples of a box, ready to be bounded.

    Attributes:
        ranks: ranks of the samples' scores, [N-1, n].
        undecided: whether a sample is undecided at an exit, [N-1, n].
        gains: δ where it is positive, else 0, [N-1, n].
        losses: δ where it is negative, else 0, [N-1, n].
        axes: the boundaries of each early exit.
        edges: the pairs of exits that the tree joins.
        joined: for each edge, whether a sample is undecided at both its exits, [n].
    """

    def __init__(self, ranks: Ranks, undecided: Bools, delta: Floats) -> None:
        self.ranks, self.undecided = ranks, undecided
        self.gains, self.losses = np.maximum(delta, 0.0), np.minimum(delta, 0.0)
        self.axes = [ExitAxis.from_ranks(r, u) for r, u in zip(ranks, undecided, strict=True)]
        self.edges = _build_spanning_tree(undecided, np.abs(delta).sum(axis=0))
        self.joined = [undecided[e.a] & undecided[e.b] for e in self.edges]
        self._order, self._above = _order_from_root(self.edges, len(ranks))
        self._ends = np.array([*self.edges, (-1, -1)])

    def find_loose_samples(self) -> Bools:
        """Samples for which the bound need not be exact, [n]."""
        open_ = self.undecided.sum(axis=0, dtype=np.int8)
        covered = sum(self.joined, np.zeros(len(open_), np.int8))
        return np.asarray((open_ > 2) | (open_ - covered > 1))

    def bound(self, point: Indices, low: Indices, high: Indices) -> tuple[float, Indices]:
        """An upper bound of Σ δ·Π c over the boundaries low..high, and boundaries at which it is reached.

        A bound is exact at one point. The first is exact at `point`, each further one at the maximum of the mean of those before; every
        mean of bounds is a bound, and the least of them is returned.
        """
        least, best, at = np.inf, low, np.clip(point, low, high)
        mean: BoundTerms | None = None
        for turn in range(_POINTS):
            fresh = self._terms(at)
            mean = fresh if mean is None else mean.shift_share(fresh, 1 / (1 + turn))
            value, at = self._maximize(mean, low, high)
            if value < least:
                least, best = value, at
        return least, best

    def _terms(self, at: Indices) -> BoundTerms:
        """The bound that is exact at one point of the box."""
        axes, samples = self.gains.shape
        stops = self.undecided & (self.ranks >= at[:, None])
        first = np.where(stops.any(axis=0), stops.argmax(axis=0), axes)
        stop, (both_pass, both_stop) = np.zeros((axes, samples)), np.zeros((2, len(self.edges), samples))
        constant = self._compute_losses(stops, stop, both_stop) + self._compute_gains(first, stop, both_pass)
        return BoundTerms(constant, stop, both_pass, both_stop)

    def _compute_losses(self, stops: Bools, stop: Floats, both_stop: Floats) -> float:
        """Terms with δ < 0: kept where the stops at the point are joined to each other (at most one group), else bounded by 0."""
        groups = np.cumsum(stops, axis=0, dtype=np.int8)
        for edge in self.edges:
            groups[edge.b :] -= stops[edge.a] & stops[edge.b]
        losses = self.losses * (groups <= 1)
        later = np.cumsum(losses[::-1], axis=0)[::-1]
        stop -= later * self.undecided
        for e, (edge, joined) in enumerate(zip(self.edges, self.joined, strict=True)):
            both_stop[e] = later[edge.b] * joined
        return float(losses.sum())

    def _compute_gains(self, first: Indices, stop: Floats, both_pass: Floats) -> float:
        """Terms with δ > 0: on a pair that has the first stop, or, before any stop, on the last pair; else on one exit."""
        pair, constant = np.full(len(first), -1), 0.0
        for k, gain in enumerate(self.gains):
            stopped = first <= k
            for e, edge in enumerate(self.edges):
                if edge.b == k:
                    useful = ~stopped | (((first == edge.a) | (first == k)) & ~self._has(pair, first))
                    pair[self.joined[e] & useful] = e
            rising = gain > 0
            paired = rising & (pair >= 0) & (~stopped | self._has(pair, first))
            on_pair, alone = np.flatnonzero(paired), np.flatnonzero(rising & ~paired)
            both_pass[pair[on_pair], on_pair] += gain[on_pair]
            stop[np.minimum(first[alone], k), alone] -= gain[alone]
            constant += float(gain[alone].sum())
        return constant

    def _has(self, pair: Indices, first: Indices) -> Bools:
        """Whether a sample's pair has its first stop."""
        return np.asarray((self._ends[pair] == first[:, None]).any(axis=1))

    def _maximize(self, terms: BoundTerms, low: Indices, high: Indices) -> tuple[float, Indices]:
        """The most that the terms can be in the box, cell by cell, and boundaries there."""
        lines = [axis.line(terms.stop[k]) for k, axis in enumerate(self.axes)]
        values = [np.maximum.reduceat(line, axis.starts) for line, axis in zip(lines, self.axes, strict=True)]
        choices: dict[int, Indices] = {}
        for child in reversed(self._order):  # each child's best for every cell of its parent, leaves of the tree first
            if child in self._above:
                e, parent = self._above[child]
                table = self._table(e, terms)
                table = (table.T if self.edges[e].a == parent else table) + values[child][:, None]
                choices[child] = table.argmax(axis=0)
                values[parent] = values[parent] + table[choices[child], np.arange(table.shape[1])]
        total, where, cell = terms.constant, low.copy(), np.zeros(len(self.axes), np.int64)
        for k in self._order:
            if k in self._above:
                cell[k] = choices[k][cell[self._above[k][1]]]
            else:
                cell[k] = values[k].argmax()
                total += float(values[k][cell[k]])
            where[k] = self.axes[k].boundary(int(cell[k]), lines[k], int(high[k]))
        return total, np.clip(where, low, high)

    def _table(self, e: int, terms: BoundTerms) -> Floats:
        """Upper bound of a pair's sum, for every two cells [cells of a, cells of b]: passing where it may, stopping where it must."""
        rows = np.flatnonzero(self.joined[e])
        first, second = (self.axes[k] for k in self.edges[e])
        shape = len(first.starts), len(second.starts)
        at_first, at_second = first.may_pass[rows], second.may_pass[rows]
        passing = _accumulate_cells(at_first, at_second, terms.both_pass[e, rows], shape)
        stopping = _accumulate_cells(shape[0] - at_first, shape[1] - at_second, terms.both_stop[e, rows], shape)
        return np.asarray(passing + stopping[::-1, ::-1], np.float64)


def _accumulate_cells(rows: Indices, columns: Indices, weights: Floats, shape: tuple[int, int]) -> Floats:
    """For every cell the Σ of weights whose row and column are not beyond it; those beyond the table count nowhere."""
    wide = shape[0] + 1, shape[1] + 1
    counted = np.bincount(rows * wide[1] + columns, weights, wide[0] * wide[1]).reshape(wide)[:-1, :-1]
    return np.asarray(np.cumsum(np.cumsum(counted, axis=0), axis=1), np.float64)


def _build_spanning_tree(undecided: Bools, stake: Floats) -> list[ExitPair]:
    """Exits joined where most is at stake among samples undecided at both (a largest spanning forest), in rising order of the later one."""
    flags = undecided.astype(np.float64)
    common = (flags * stake) @ flags.T
    group = list(range(len(common)))
    edges = []
    for index in np.argsort(-common, axis=None, kind="stable"):
        a, b = divmod(int(index), len(common))
        if a < b and common[a, b] > 0 and group[a] != group[b]:
            edges.append(ExitPair(a, b))
            group = [group[a] if g == group[b] else g for g in group]
    return sorted(edges, key=lambda e: (e.b, e.a))


def _order_from_root(edges: list[ExitPair], count: int) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """The exits, parents before children, and the edge and parent of each child."""
    order: list[int] = []
    up: dict[int, tuple[int, int]] = {}
    for root in range(count):
        if root in order:
            continue
        order.append(root)
        at = len(order) - 1
        while at < len(order):
            node = order[at]
            for e, edge in enumerate(edges):
                other = edge.b if edge.a == node else edge.a if edge.b == node else -1
                if other >= 0 and other not in order:
                    order.append(other)
                    up[other] = (e, node)
            at += 1
    return order, up
