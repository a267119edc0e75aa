"""When nothing meets a target: the nearest target of the same kind that can be met."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

import numpy as np

from edgeexit.calibration.solver.problem import Problem
from edgeexit.calibration.solver.search import QUICK, find_best_boundaries
from edgeexit.calibration.sums import SampleSum
from edgeexit.calibration.targets import Bound, Target
from edgeexit.errors import TargetNotMet
from edgeexit.util.units import format_count

_DIGITS = 4


def make_not_met_error(problem: Problem) -> TargetNotMet:
    """The error for a target that nothing meets, with the nearest that can be met: bounds on the answers are kept before those on cost."""
    target = problem.target
    nearest = find_nearest_feasible(problem, (*target.answer_bounds, *target.cost_bounds))
    message = f"no thresholds meet '{target}' on these {format_count(len(problem.table), 'sample')}."
    if nearest is None:
        return TargetNotMet(f"{message} No looser target of this kind was found either.")
    shown = _sort_by_target(target, nearest)
    message += f" The nearest that can be met is '{shown}'"
    other = (
        find_nearest_feasible(problem, (*target.cost_bounds, *target.answer_bounds))
        if target.answer_bounds and target.cost_bounds
        else None
    )
    if other is not None and _sort_by_target(target, other) != shown:
        message += f", or, keeping the cost, '{_sort_by_target(target, other)}'"
    return TargetNotMet(message + ".", str(shown))


def is_met(problem: Problem) -> bool:
    """True where a quick search finds thresholds that keep every bound."""
    return problem.is_kept_by(find_best_boundaries(problem, QUICK))


def find_nearest_feasible(problem: Problem, bounds: tuple[Bound, ...]) -> Target | None:
    """Take the bounds in order; one that cannot be met beside those before it is replaced by the nearest that can."""
    kept: tuple[Bound, ...] = ()
    for bound in bounds:
        if is_met(problem.with_target(Target((*kept, bound)))):
            kept = (*kept, bound)
            continue
        loosened = _loosen_bound(problem, kept, bound)
        if loosened is None:
            return None
        kept = (*kept, loosened)
    return Target(kept)


def _loosen_bound(problem: Problem, kept: tuple[Bound, ...], bound: Bound) -> Bound | None:
    best = (
        _find_best_tail(problem, kept, bound) if bound.kind.tail is not None else _find_best_value(problem, kept, bound)
    )
    for step in range(4):
        candidate = replace(bound, limit=_round_outward(bound, best, step))
        try:
            if is_met(problem.with_target(Target((*kept, candidate)))):
                return candidate
        except ValueError:
            return None
    return None


def _find_best_value(problem: Problem, kept: tuple[Bound, ...], bound: Bound) -> float:
    """The best limit of a bound that is an average, with the bounds before it kept."""
    limited, table = problem.with_target(Target((bound,))), problem.table
    least = replace(
        limited,
        goal=limited.limits[0].negate(),
        tie=SampleSum(table.mean_cost),
        limits=problem.with_target(Target(kept)).limits if kept else (),
    )
    reached = -least.goal.sum_at_exits(least.ranked.find_leaves(find_best_boundaries(least, QUICK)))
    return bound.kind.convert_average(table, bound, reached / len(table))


def _find_best_tail(problem: Problem, kept: tuple[Bound, ...], bound: Bound) -> float:
    """The smallest latency whose tail mass can be kept small enough, by halving among the latencies measured."""
    values = np.unique(np.concatenate(problem.table.cost_s))
    low, high = int(np.searchsorted(values, bound.limit)), len(values) - 1
    while low < high:
        middle = (low + high) // 2
        met = is_met(problem.with_target(Target((*kept, replace(bound, limit=float(values[middle]))))))
        low, high = (low, middle) if met else (middle + 1, high)
    return float(values[high])


def _round_outward(bound: Bound, value: float, step: int) -> float:
    """`value` rounded to the looser side, `step` last digits further."""
    looser = ROUND_CEILING if bound.kind.sign == "<=" else ROUND_FLOOR
    rounded = Context(prec=_DIGITS, rounding=looser).create_decimal(Decimal(repr(float(value))))
    last = Decimal((0, (1,), int(rounded.as_tuple().exponent)))
    moved = rounded + last * step if bound.kind.sign == "<=" else rounded - last * step
    return float(max(moved, Decimal(bound.kind.low)))


def _sort_by_target(target: Target, found: Target) -> Target:
    """The bounds of `found` in the order in which the user wrote them."""
    by_slot = {b.slot: b for b in found.bounds}
    return Target(tuple(by_slot[b.slot] for b in target.bounds))
