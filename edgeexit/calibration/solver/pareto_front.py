"""The whole accuracy-latency front of a table: the policies that no other beats in both mean latency and accuracy.

Every table made on the way (the grid, the planes through a few anchors) holds thousands of policies with their mean and accuracy; the front
keeps the best of each narrow band of means. It answers any later budget without a new measurement, and is the path of online control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Floats, ReplayTable
from edgeexit.calibration.solver.coordinate_ascent import run_ascents
from edgeexit.calibration.solver.families import Q_VALUES, make_geometric_boundaries
from edgeexit.calibration.solver.grid import Grid
from edgeexit.calibration.solver.pairs import PairGrid, build_planes, refine
from edgeexit.calibration.solver.problem import FEW_EXITS, Problem, build_problem
from edgeexit.calibration.solver.ranks import Boundaries
from edgeexit.calibration.solver.search import MANY_EXITS, PART, Policy, make_policy
from edgeexit.calibration.sums import SampleSum
from edgeexit.calibration.targets import Bound, Target
from edgeexit.errors import InputError

POINTS = 128
_BANDS = 400
_ANCHORS, _ROUNDS = 14, 4
_MANY_ANCHORS, _MANY_ROUNDS = 24, 8
_ASCENTS = 80
_PLANE_LEVELS = 96
_REFINE_LEVELS = 128


@dataclass(frozen=True)
class Front:
    """Policies from the cheapest to the most accurate: mean latency and accuracy both rise strictly."""

    policies: tuple[Policy, ...]

    def __len__(self) -> int:
        return len(self.policies)

    @property
    def means_s(self) -> Floats:
        """Mean latencies, rising."""
        return np.array([p.mean_s for p in self.policies])

    @property
    def qualities(self) -> Floats:
        """Accuracies (agreements, without labels), rising."""
        return np.array([p.quality for p in self.policies])

    def find_within(self, mean_s: float) -> Policy:
        """The most accurate policy whose mean latency is at most `mean_s`.

        Raises:
            InputError: even the cheapest costs more.
        """
        found = int(np.searchsorted(self.means_s, mean_s * (1 + 1e-12), side="right")) - 1
        if found < 0:
            msg = f"a mean of {mean_s} s is below the cheapest policy, {self.policies[0].mean_s} s."
            raise InputError(msg)
        return self.policies[found]

    def thin(self, points: int) -> Front:
        """At most `points` of the policies, evenly over the ranges of means and qualities, the first and the last among them."""
        if len(self) <= points:
            return self
        way = sum((v - v[0]) / max(v[-1] - v[0], 1e-300) for v in (self.means_s, self.qualities))
        keep = np.unique([0, len(self) - 1, *np.searchsorted(way, np.linspace(0, 2, points)[1:-1])])
        return Front(tuple(self.policies[i] for i in keep))


def front(table: ReplayTable, points: int = POINTS) -> Front:
    """The front of a table, at most `points` policies; exact for two exits, close to it (see `benchmarks/`) for more.

    Example:
        >>> import edgeexit
        >>> table = edgeexit.ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]], correct=[[1, 1], [1, 1], [0, 1], [1, 1]], cost_s=[0.001, 0.003]
        ... )
        >>> [(policy.mean_s, policy.accuracy) for policy in edgeexit.front(table).policies]
        [(0.001, 0.75), (0.002, 1.0)]
    """
    loosest = Target((Bound("mean", float(table.mean_cost_s.max()) * 2),))
    problem = build_problem(table, loosest)
    if table.exits == 2:
        found = _collect_all_thresholds(problem).boundaries()
    elif len(table) <= 2 * PART:
        found = _collect_policies(problem).boundaries()
    else:
        part = problem.take(np.arange(0, len(table), len(table) // PART))
        found = [
            problem.ranked.find_boundaries(part.ranked.compute_thresholds(b))
            for b in _collect_policies(part).boundaries()
        ]
    policies = [make_policy(problem, b, None) for b in found]
    return Front(tuple(_keep_undominated(policies))).thin(points)


def _keep_undominated(policies: Sequence[Policy]) -> list[Policy]:
    kept: list[Policy] = []
    for policy in sorted(policies, key=lambda p: (p.mean_s, -p.quality)):
        if not kept or policy.quality > kept[-1].quality:
            kept.append(policy)
    return kept


class _Bands:
    """The best policy met so far in each band of mean latency."""

    def __init__(self, low: float, high: float, axes: int) -> None:
        self.low, self.width = low, max(high - low, 1e-300) / _BANDS
        self.quality = np.full(_BANDS + 1, -np.inf)
        self.points = np.zeros((_BANDS + 1, axes), np.int64)

    def add(self, quality: Floats, total_s: Floats, levels: Sequence[NDArray[np.int64]]) -> None:
        """Take in a table of policies: their quality and total latency on the product of `levels`."""
        flat, cost = quality.ravel(), total_s.ravel()
        band = np.clip(np.ceil((cost - self.low) / self.width - 1e-9), 0, _BANDS).astype(np.int64)
        order = np.argsort(flat, kind="stable")
        best = np.full(_BANDS + 1, -1, np.int64)
        best[band[order]] = order
        better = np.flatnonzero((best >= 0) & (flat[best] > self.quality))
        self.quality[better] = flat[best[better]]
        places = np.unravel_index(best[better], quality.shape)
        for axis, (level, place) in enumerate(zip(levels, places, strict=True)):
            self.points[better, axis] = level[place]

    def boundaries(self) -> list[Boundaries]:
        """The best of each band that holds any."""
        return [tuple(int(b) for b in self.points[i]) for i in np.flatnonzero(np.isfinite(self.quality))]

    def near(self, total_s: float) -> Boundaries | None:
        """The best of all bands up to a total latency."""
        upto = int(np.clip((total_s - self.low) / self.width, 0, _BANDS))
        best = int(np.argmax(self.quality[: upto + 1]))
        return tuple(int(b) for b in self.points[best]) if np.isfinite(self.quality[best]) else None


def _make_bands(problem: Problem) -> _Bands:
    costs = problem.table.mean_cost_s * len(problem.table)
    return _Bands(float(costs.min()), float(costs.max()), len(problem.ranked.ranks))


def _collect_all_thresholds(problem: Problem) -> _Bands:
    """Two exits: every threshold."""
    bands, (ranks,), (top,) = _make_bands(problem), problem.ranked.ranks, problem.ranked.tops
    levels = np.arange(top + 1)
    grid = Grid((levels,), (np.asarray(ranks, np.int64),))
    bands.add(grid.table(problem.goal), grid.table(problem.tie), (levels,))
    return bands


def _collect_policies(problem: Problem) -> _Bands:
    bands = _make_bands(problem)
    if problem.table.exits > FEW_EXITS:
        _add_points(problem, bands, run_ascents(problem, _ASCENTS))
    else:
        grid = Grid.from_ranks(problem.ranked)
        bands.add(grid.table(problem.goal), grid.table(problem.tie), grid.levels)
    _add_members(problem, bands)
    samples, costs = len(problem.table), problem.table.mean_cost_s
    rounds = _ROUNDS if problem.table.exits <= FEW_EXITS else _MANY_ROUNDS
    for budget_s in _choose_anchor_budgets(problem, bands):
        start = bands.near(budget_s * samples)
        if start is None:
            continue
        anchored = replace(problem, limits=(SampleSum(costs, limit=samples * budget_s),))
        point = refine(anchored, start, _REFINE_LEVELS, rounds)
        for plane in build_planes(problem, point, _PLANE_LEVELS):
            _add_plane(problem, bands, plane, point)
    return bands


def _add_members(problem: Problem, bands: _Bands) -> None:
    """The geometric exit distributions: where exits are many, better than any cell of a coarse grid."""
    step = 1 if len(problem.ranked.ranks) >= MANY_EXITS else 4
    _add_points(problem, bands, [make_geometric_boundaries(problem.ranked, q) for q in Q_VALUES[::step]])


def _add_points(problem: Problem, bands: _Bands, points: Sequence[Boundaries]) -> None:
    for point in points:
        leaves = problem.ranked.find_leaves(point)
        levels = [np.array([b]) for b in point]
        shape = (1,) * len(point)
        bands.add(
            np.full(shape, problem.goal.sum_at_exits(leaves)), np.full(shape, problem.tie.sum_at_exits(leaves)), levels
        )


def _choose_anchor_budgets(problem: Problem, bands: _Bands) -> list[float]:
    """Means from the cheapest policy to the most accurate one met: evenly spaced, and with many exits evenly along the front."""
    samples = len(problem.table)
    last = int(np.argmax(bands.quality))
    if problem.table.exits <= FEW_EXITS:
        most = bands.low + bands.width * last
        return [float(b) for b in np.linspace(bands.low / samples, most / samples, _ANCHORS + 1)[1:]]
    quality = np.maximum.accumulate(bands.quality[: last + 1])
    quality = np.maximum(
        quality, quality[np.isfinite(quality)][0]
    )  # the bands below the cheapest policy met are empty: -inf
    way = np.linspace(0, 1, last + 1) + (quality - quality[0]) / max(quality[-1] - quality[0], 1e-300)
    places = np.unique(np.searchsorted(way, np.linspace(0, way[-1], _MANY_ANCHORS + 1)[1:]))
    budgets = [float(bands.low + bands.width * min(p, last)) / samples for p in places]
    return [*budgets, float(problem.table.mean_cost_s.max())]


def _add_plane(problem: Problem, bands: _Bands, plane: PairGrid, point: Boundaries) -> None:
    held = [np.array([b]) for b in point]
    held[plane.pair.j], held[plane.pair.k] = plane.levels_j, plane.levels_k
    shape = tuple(len(h) for h in held)
    bands.add(plane.table(problem.goal).reshape(shape), plane.table(problem.tie).reshape(shape), held)
