"""The search over more samples than fit in memory: tables come in parts, again and again, and only sums over cells are kept.

Thresholds are taken from levels t_0 = -inf < t_1 < ... per exit, chosen on a sample of the table; every combination of them is evaluated on
all samples (`Grid`: summed-area tables, which add up over parts). What no level hits is bounded:

Let θ be any thresholds, and p the levels just below, t_p <= θ_k < t_(p+1) at each exit k (the box of θ). Under θ sample i leaves at the
exit where it leaves under p, or, if its score at that exit k lies in [t_p, θ_k), later. So a sum S of values v(i, exit) changes by at most

    S(θ) - S(p) <= Σ_k W_k(p),   W_k(p) = Σ of max(0, max_(j>k) v(i,j) - v(i,k)) over the samples i with a score at exit k in [t_p, t_(p+1))

Samples with the highest score s of that range never count: for θ_k <= s they leave as under p, and θ_k > s does what t_(p+1) does, in
the next box. With -v for v this bounds how far below S(p) a limited sum can be. Hence no thresholds that keep all limits reach a goal above

    U = max over boxes p of  goal(p) + ΣW(p),   where limited sums at p, less what θ can lower them by, keep the limits,

and the gap of what was found is at most U - goal(found). Where each box holds one distinct score per exit, all W are 0: the levels are
then all thresholds that there are, and the gap is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.outcome import Outcome, compute_mean_cost
from edgeexit.calibration.replay import Floats, ReplayTable
from edgeexit.calibration.solver.grid import CELLS, Grid
from edgeexit.calibration.solver.nearest_target import make_not_met_error
from edgeexit.calibration.solver.optimum import find_best_policy
from edgeexit.calibration.solver.problem import Problem, build_problem
from edgeexit.calibration.solver.ranks import RankedScores, compute_quantile_levels, find_threshold_between
from edgeexit.calibration.solver.search import QUICK, Policy
from edgeexit.calibration.sums import ROUNDING, SampleSum
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.errors import InputError, TargetNotMet
from edgeexit.util.arguments import as_whole

SAMPLE = 20_000
"""Samples on which the levels are chosen."""
_NEAR = 0.02  # share of the sample on each side of its own optimum in which half of the levels stand

_COLUMNS = ("scores", "correct", "agreement", "backbone_correct")

Levels = tuple[NDArray[np.float32], ...]


def optimise_parts(
    parts: Iterable[ReplayTable],
    target: str | Target,
    *,
    sample: int = SAMPLE,
    cells: int = CELLS,
    seed: int = 0,
) -> Policy:
    """The best policy for a target over tables that come in parts, up to `Policy.gap`; memory depends on the largest part alone.

    Parts are read twice, and a third time for the outcome. Up to `sample` samples in all are searched as `optimise` does.

    Args:
        parts: the tables, of the same costs; iterated over three times, so no generator.
        target: as of `optimise`.
        sample: samples on which levels are chosen.
        cells: most combinations of thresholds to evaluate.
        seed: of the sample.

    Raises:
        InputError: no parts, a generator, parts of different exits, costs or columns, a target that cannot be read or needs what the
            tables lack.
        TargetNotMet: none of the combinations meets it; names the nearest target of the sample.

    Example:
        >>> import numpy as np
        >>> import edgeexit
        >>> from edgeexit.calibration import optimise_parts
        >>> scores = np.random.default_rng(0).random((1000, 1))
        >>> right = np.hstack([scores > 0.3, np.ones((1000, 1), bool)])
        >>> table = edgeexit.ReplayTable.from_arrays(scores, right, cost_s=[0.001, 0.003])
        >>> parts = [table.take(np.arange(i, i + 250)) for i in range(0, 1000, 250)]
        >>> policy = optimise_parts(parts, "accuracy>=1", sample=500)
        >>> policy.accuracy, policy.gap < 0.0001
        (1.0, True)
    """
    wanted = parse_target(target)
    if iter(parts) is parts:
        msg = "the parts are read three times, so they cannot be a generator: give a list, or a ShardedTable."
        raise InputError(msg)
    as_whole("sample", sample, 1, 10**9)
    as_whole("cells", cells, 1, 10**9)
    drawn, total = draw_sample(parts, sample, seed)
    problem = build_problem(drawn, wanted)
    if len(drawn) == total:
        return find_best_policy(problem)
    levels = _choose_levels(problem, cells)
    sums = _add_up(parts, wanted, levels)
    found = sums.find_best()
    if found is None:
        raise _make_not_met(problem, wanted, total)
    thresholds = np.array([lv[place] for lv, place in zip(levels, found, strict=True)], np.float32)
    gap = max(0.0, sums.find_upper_bound() - float(sums.goal.totals[found])) / total
    return Policy.from_outcome(thresholds, evaluate_parts(parts, thresholds), gap)


def evaluate_parts(parts: Iterable[ReplayTable], thresholds: NDArray[np.float32]) -> Outcome:
    """Outcome of a policy with these inner thresholds [N-1] on tables that come in parts.

    Raises:
        InputError: no parts, or parts of different exits, costs or columns.
    """
    found = [(part.evaluate(thresholds), part) for part in _refuse_unlike(_check_exits(parts, thresholds))]
    outcomes = [outcome for outcome, _ in found]
    table = _require(found)[0][1]
    counts = np.sum([o.counts for o in outcomes], axis=0)
    sizes = np.array([sum(o.counts) for o in outcomes], np.float64)

    def average(values: list[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return None if len(known) < len(values) else float(np.dot(known, sizes) / sizes.sum())

    return Outcome(
        counts=tuple(int(c) for c in counts),
        accuracy=average([o.accuracy for o in outcomes]),
        agreement=average([o.agreement for o in outcomes]),
        mean_s=compute_mean_cost(counts, table.mean_cost_s) if table.timed else math.nan,
        energy_j=None if table.energy_j is None else compute_mean_cost(counts, table.energy_j),
        macs=None if table.macs is None else compute_mean_cost(counts, table.macs),
    )


def join_tables(tables: Iterable[ReplayTable]) -> ReplayTable:
    """The samples of several tables of the same costs in one.

    Raises:
        InputError: no tables, or tables of different exits, costs or columns.
    """
    found: list[ReplayTable] = _require(list(_refuse_unlike(tables)))
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(t, name) for t in found])
        for name in _COLUMNS
        if getattr(found[0], name) is not None
    }
    return replace(found[0], **columns)


def _require(found: list[Any]) -> list[Any]:
    if not found:
        msg = "there are no tables to search: the parts are empty."
        raise InputError(msg)
    return found


def _refuse_unlike(parts: Iterable[ReplayTable]) -> Iterator[ReplayTable]:
    """The parts, as long as they have the exits, costs and columns of the first."""
    first: ReplayTable | None = None
    for number, part in enumerate(parts):
        first = part if first is None else first
        if part.exits != first.exits:
            msg = f"part {number} has {part.exits} exits, part 0 has {first.exits}: they are of different networks."
            raise InputError(msg)
        if part.cost_unit != first.cost_unit or not np.allclose(part.mean_cost, first.mean_cost):
            msg = f"part {number} has other costs than part 0: give all the same ones, as ShardedTable.open(folder, cost_s=[...]) does."
            raise InputError(msg)
        for name in _COLUMNS:
            if (getattr(part, name) is None) != (getattr(first, name) is None):
                msg = f"{name} is known in some parts only (0 and {number} differ): label all samples, or none."
                raise InputError(msg)
        yield part


def _check_exits(parts: Iterable[ReplayTable], thresholds: NDArray[np.float32]) -> Iterator[ReplayTable]:
    for part in parts:
        if part.exits != len(thresholds) + 1:
            msg = f"a part has {part.exits} exits, the thresholds are for {len(thresholds) + 1}."
            raise InputError(msg)
        yield part


def draw_sample(parts: Iterable[ReplayTable], most: int, seed: int) -> tuple[ReplayTable, int]:
    """At most `most` samples, each set of that size equally likely: those with the lowest of random keys; and how many there are in all.

    Raises:
        InputError: no parts, or parts of different exits, costs or columns.
    """
    rng, total = np.random.default_rng(seed), 0
    kept: ReplayTable | None = None
    keys = np.zeros(0)
    for part in _refuse_unlike(parts):
        total += len(part)
        own = rng.random(len(part))
        low = np.argsort(own, kind="stable")[:most]
        keys = np.concatenate([keys, own[low]])
        kept = part.take(low) if kept is None else join_tables([kept, part.take(low)])
        if len(keys) > most:
            low = np.sort(np.argsort(keys, kind="stable")[:most])
            keys, kept = keys[low], kept.take(low)
    if kept is None:
        _require([])
    assert kept is not None
    return kept, total


def _choose_levels(problem: Problem, cells: int) -> Levels:
    """Per exit -inf, +inf, quantiles of the sample's scores, and as many again near the sample's own optimum."""
    ranked = problem.ranked
    count = max(3, int(cells ** (1 / len(ranked.ranks))))
    quantiles = Grid.from_ranks(ranked, max(2, count // 2) ** len(ranked.ranks)).levels
    try:
        best = ranked.find_boundaries(find_best_policy(problem, QUICK).thresholds)
    except TargetNotMet:
        best = None
    levels = []
    for k, (ranks, top) in enumerate(zip(ranked.ranks, ranked.tops, strict=True)):
        if top + 1 <= count:
            chosen = np.arange(top + 1)
        elif best is None:
            chosen = compute_quantile_levels(ranks, top, count)
        else:
            chosen = np.concatenate([quantiles[k], _list_near(ranks, top, best[k], count - len(quantiles[k]))])
        made = [find_threshold_between(ranked.distinct[k], int(b)) for b in np.unique(chosen)]
        levels.append(np.unique(np.array([-np.inf, *made, np.inf], np.float32)))
    return tuple(levels)


def _list_near(ranks: NDArray[np.int32], top: int, boundary: int, count: int) -> NDArray[np.int64]:
    """Boundaries near one, at equal shares of the sample."""
    ordered = np.sort(ranks)
    at, reach = int(np.searchsorted(ordered, boundary)), max(count, int(_NEAR * len(ordered)))
    places = np.linspace(max(0, at - reach), min(len(ordered) - 1, at + reach), max(1, count - 1))
    return np.append(ordered[places.astype(np.int64)], boundary).astype(np.int64).clip(0, top)


class _BoxWeights:
    """Weights of the samples per level of one exit, without those at the highest score of each box."""

    def __init__(self, count: int) -> None:
        self.total, self.at_top = np.zeros(count), np.zeros(count)
        self.top = np.full(count, -np.inf, np.float32)

    def add(self, cells: NDArray[np.int64], scores: NDArray[np.float32], weights: Floats) -> None:
        """Add the samples of a part."""
        count = len(self.total)
        self.total += np.bincount(cells, weights, count)
        top = self.top.copy()
        np.maximum.at(top, cells, scores)
        self.at_top[top > self.top] = 0.0
        highest = scores == top[cells]
        self.at_top += np.bincount(cells[highest], weights[highest], count)
        self.top = top

    @property
    def below_top(self) -> Floats:
        """The weights that count."""
        return np.maximum(0.0, self.total - self.at_top)


class _StreamedSum:
    """One sum for every combination of levels, and how far it can be from that within each box.

    Attributes:
        totals: the sums, one axis per exit.
        limit: the limit so far, which grows with the samples.
    """

    def __init__(self, shape: tuple[int, ...], sign: int) -> None:
        self.totals, self.limit = np.zeros(shape), 0.0
        self._sign = sign
        self._weights = [_BoxWeights(count) for count in shape]

    def add(self, quantity: SampleSum, grid: Grid, scores: NDArray[np.float32]) -> None:
        """Add a part."""
        self.totals += grid.table(quantity)
        self.limit += quantity.limit
        values = np.asarray(self._sign * quantity.expand_to_samples(len(scores)), np.float64)
        later = np.maximum.accumulate(values[:, ::-1], axis=1)[:, ::-1]
        for k, weights in enumerate(self._weights):
            weights.add(grid.cells[k], scores[:, k], np.maximum(0.0, later[:, k + 1] - values[:, k]))

    @property
    def room(self) -> Floats:
        """ΣW of each box, to be broadcast against `totals`."""
        axes = len(self._weights)
        parts = [w.below_top.reshape((-1,) + (1,) * (axes - 1 - k)) for k, w in enumerate(self._weights)]
        return np.asarray(sum(parts[1:], parts[0]))

    @property
    def allowed(self) -> float:
        """The limit, with room for rounding."""
        return self.limit + ROUNDING * max(1e-300, abs(self.limit)) if math.isfinite(self.limit) else self.limit


@dataclass(frozen=True, eq=False)
class _TargetSums:
    goal: _StreamedSum
    tie: _StreamedSum
    limits: tuple[_StreamedSum, ...]

    def find_best(self) -> tuple[int, ...] | None:
        """Levels of the best combination that keeps all limits; None where none does."""
        goal = self.goal.totals.copy()
        for limited in self.limits:
            goal[limited.totals > limited.allowed] = -np.inf
        best = goal.max()
        if best == -np.inf:
            return None
        equal = np.flatnonzero(goal >= best - 1e-12 * max(1.0, abs(best)))
        chosen = equal[np.argmin(self.tie.totals.ravel()[equal])]
        return tuple(int(i) for i in np.unravel_index(chosen, goal.shape))

    def find_upper_bound(self) -> float:
        """U of the module."""
        most = self.goal.totals + self.goal.room
        for limited in self.limits:
            most[limited.totals - limited.room > limited.allowed] = -np.inf
        return float(most.max())


def _add_up(parts: Iterable[ReplayTable], target: Target, levels: Levels) -> _TargetSums:
    """Every sum of the target over all parts."""
    shape = tuple(len(lv) for lv in levels)
    goal, tie = _StreamedSum(shape, 1), _StreamedSum(shape, 1)
    limits = tuple(_StreamedSum(shape, -1) for _ in target.bounds)
    unranked = RankedScores((), ())  # sums need no ranks
    for part in parts:
        problem = build_problem(part, target, unranked)
        cells = [np.searchsorted(lv, s, side="right") - 1 for lv, s in zip(levels, part.scores.T, strict=True)]
        grid = Grid(tuple(np.arange(n) for n in shape), tuple(cells))
        for made, quantity in zip((goal, tie, *limits), (problem.goal, problem.tie, *problem.limits), strict=True):
            made.add(quantity, grid, part.scores)
    return _TargetSums(goal, tie, limits)


def _make_not_met(problem: Problem, target: Target, total: int) -> TargetNotMet:
    """The sample's own refusal, or that the sample can and all samples cannot."""
    try:
        find_best_policy(problem, QUICK)
    except TargetNotMet:
        return make_not_met_error(problem)
    msg = f"{len(problem.table)} of {total} samples can meet '{target}', all together cannot, with any of the thresholds tried: loosen it."
    return TargetNotMet(msg)
