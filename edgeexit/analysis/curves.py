"""Accuracy against cost: of each exit by itself, and of leaving early under a budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.analysis.checks import check_same_network, require_correct
from edgeexit.calibration.replay import Floats, Indices, ReplayTable
from edgeexit.calibration.solver.families import make_geometric_boundaries
from edgeexit.calibration.solver.optimum import find_best_policy
from edgeexit.calibration.solver.problem import build_problem
from edgeexit.calibration.solver.ranks import RankedScores
from edgeexit.calibration.solver.search import NORMAL, Effort
from edgeexit.calibration.targets import Bound, Target
from edgeexit.errors import InputError


@dataclass(frozen=True, eq=False)
class AccuracyCurve:
    """Accuracy against mean cost, one point per way of leaving.

    Attributes:
        cost: mean cost per sample, [P], in `unit`.
        accuracy: share of right answers, [P].
        exit_rates: share of the samples leaving at each exit, [P, N].
        thresholds: inner thresholds of each point, float32 [P, N-1]: -inf always leaves, +inf never. None where all leave at one exit.
        unit: "s" or "MAC".
    """

    cost: Floats
    accuracy: Floats
    exit_rates: Floats
    thresholds: NDArray[np.float32] | None
    unit: str

    def find_accuracy_within(self, budget: float) -> float | None:
        """The highest accuracy of a point whose mean cost is at most `budget`, in the curve's unit; None where each costs more."""
        within = self.cost <= budget
        return float(self.accuracy[within].max()) if within.any() else None


def compute_anytime_curve(table: ReplayTable) -> AccuracyCurve:
    """Accuracy of each exit against the cost of leaving there: anytime prediction, where the budget of each sample is given from outside.

    Voorhout, "Overthinking in MSDNet" (2022), equations 3.1 and 3.2 and figure 3.7; MSDNet (Huang et al. 2018), section 5.

    Args:
        table: with labels.

    Returns:
        N points, first exit first.

    Raises:
        InputError: the table has no labels.

    Example:
        >>> from edgeexit.calibration import ReplayTable
        >>> table = ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]],
        ...     correct=[[1, 1], [1, 0], [0, 1], [0, 1]],
        ...     cost_s=[0.001, 0.003],
        ... )
        >>> curve = compute_anytime_curve(table)
        >>> curve.cost.tolist(), curve.unit, curve.accuracy.tolist()
        ([0.001, 0.003], 's', [0.5, 0.75])
        >>> curve.find_accuracy_within(0.002)
        0.5
    """
    return _trace(table, [np.full(len(table), k, np.int64) for k in range(table.exits)], None)


def compute_budgeted_curve(
    chosen_on: ReplayTable, used_on: ReplayTable, *, steps: int = 40, turning: int = 20
) -> AccuracyCurve:
    """Accuracy against mean cost in budgeted batch classification, where one budget is shared out among all samples.

    Voorhout, "Overthinking in MSDNet" (2022), section 3.2.3, algorithm 1 and equations 3.9 and 3.10, as MSDNet (Huang et al. 2018) is
    evaluated: for p = 1, ..., `steps` the share of exit i is q_i ∝ exp(log(p / turning) · i); from the first exit on, each takes those of
    its share it is most confident about, among the samples that are still there, and the least confidence among them is its threshold. As
    printed, the algorithm takes leavers out of the next exit's list only; here of all later ones, without which shares would not add up.

    Args:
        chosen_on: the samples that thresholds are chosen on (a validation or calibration part); needs no labels.
        used_on: the samples that points are computed on (a test part), with labels.
        steps: number of points.
        turning: the b of equation 3.10; with p = b all exits get the same share.

    Returns:
        `steps` points, from "nearly all leave at the first exit" to "most leave at the last one".

    Raises:
        InputError: the tables are not of one network, or `used_on` has no labels.

    Example:
        >>> from edgeexit.calibration import ReplayTable
        >>> table = ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]],
        ...     correct=[[1, 1], [1, 0], [0, 1], [0, 1]],
        ...     macs=[1e6, 3e6],
        ...     cost_s=None,
        ... )
        >>> curve = compute_budgeted_curve(table, table)
        >>> curve.cost[[0, 19, 39]].tolist(), curve.unit
        ([1000000.0, 2000000.0, 2500000.0], 'MAC')
        >>> curve.accuracy[[0, 19, 39]].tolist()  # half at each exit is better than all at the last one
        [0.5, 1.0, 0.75]
    """
    check_same_network(chosen_on, used_on)
    if steps < 1 or turning < 1:
        msg = f"steps and turning must be at least 1, not {steps} and {turning}."
        raise InputError(msg)
    ranked = RankedScores.from_scores(chosen_on.scores)
    shares = (p / turning for p in range(1, steps + 1))
    leaves = (ranked.find_leaves(make_geometric_boundaries(ranked, q)) for q in shares)
    return _trace_thresholds(used_on, [_find_least_scores(chosen_on, at) for at in leaves])


def compute_searched_curve(
    chosen_on: ReplayTable,
    used_on: ReplayTable,
    *,
    budgets: ArrayLike | None = None,
    steps: int = 40,
    effort: Effort = NORMAL,
) -> AccuracyCurve:
    """Accuracy against mean cost under edgeexit's own search, to stand beside `compute_budgeted_curve`: `optimise` at each budget.

    For two and three exits no thresholds are better on the samples that they are chosen on; see docs/search.md.

    Args:
        chosen_on: the samples that thresholds are chosen on, with labels.
        used_on: the samples that points are computed on, with labels.
        budgets: mean cost per sample, [P], in the table's unit; None for `steps` of them, evenly from the cheapest exit to the dearest.
        steps: number of points where no budgets are given.
        effort: of each search.

    Returns:
        One point per budget. Its cost is what the thresholds take on `used_on`, which may differ from the budget.

    Raises:
        InputError: the tables are not of one network, or one has no labels.
        TargetNotMet: a budget is below the cost of the cheapest exit.

    Example:
        >>> from edgeexit.calibration import ReplayTable
        >>> table = ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]],
        ...     correct=[[1, 1], [1, 0], [0, 1], [0, 1]],
        ...     cost_s=[0.001, 0.003],
        ... )
        >>> curve = compute_searched_curve(table, table, steps=3)
        >>> curve.cost.tolist(), curve.accuracy.tolist(), curve.unit
        ([0.001, 0.002, 0.002], [0.5, 1.0, 1.0], 's')
    """
    check_same_network(chosen_on, used_on)
    require_correct(chosen_on)
    costs = chosen_on.mean_cost
    limits = np.linspace(costs.min(), costs.max(), steps) if budgets is None else np.asarray(budgets, np.float64)
    name = "mean" if chosen_on.timed else "macs"
    problem = build_problem(chosen_on, Target((Bound(name, float(costs.max())),)))
    targets = [Target((Bound(name, float(limit)),)) for limit in limits.ravel()]
    return _trace_thresholds(used_on, [find_best_policy(problem.with_target(t), effort).inner for t in targets])


def _find_least_scores(table: ReplayTable, leaves: Indices) -> NDArray[np.float32]:
    """Per early exit the least score among the samples that leave there, [N-1]; +inf where none does."""
    least = np.full(table.exits - 1, np.inf, np.float32)
    for k in range(table.exits - 1):
        least[k] = table.scores[leaves == k, k].min(initial=np.inf)
    return least


def _trace_thresholds(table: ReplayTable, thresholds: Sequence[NDArray[np.float32]]) -> AccuracyCurve:
    stacked = np.array(thresholds, np.float32).reshape(-1, table.exits - 1)
    return _trace(table, (table.leaves_at(t) for t in stacked), stacked)


def _trace(table: ReplayTable, leaves: Iterable[Indices], thresholds: NDArray[np.float32] | None) -> AccuracyCurve:
    """One point per way of leaving."""
    require_correct(table)
    outcomes = [table.evaluate_leaves(at) for at in leaves]
    rates = np.array([o.exit_rates for o in outcomes], np.float64).reshape(-1, table.exits)
    accuracy = np.array([o.quality for o in outcomes], np.float64)
    cost = np.array([o.mean_s if table.timed else o.macs for o in outcomes], np.float64)
    return AccuracyCurve(cost, accuracy, rates, thresholds, table.cost_unit)
