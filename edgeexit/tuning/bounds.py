"""Optimistic bounds: the most that any thresholds, of any criterion, could bring on recorded answers and measured times.

A policy lets every sample leave at one exit. Its goal and everything that a target bounds are sums over samples of a value at that exit, so
that no policy can be better than the best of all assignments of samples to exits that keep the limits, whether or not thresholds lead to
them. The best assignment is bounded by Lagrange's weak duality, with any multipliers λ >= 0:

    max { Σ goal : Σ limit_j <= L_j }  <=  Σ_i max_k (goal_ik - Σ_j λ_j limit_jik) + Σ_j λ_j L_j

since what an assignment that keeps the limits gains by the terms with λ is never negative. The multipliers are sought so that the right
side is small, but the bound holds for whatever is found. Targets tightened by room for noise allow fewer assignments: it holds there too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.solver.problem import Problem

_PASSES, _STEPS = 2, 24
_GOLDEN = (5**0.5 - 1) / 2


def bound_goal(problem: Problem) -> float | None:
    """The most that the goal's sum can be under any way to let samples leave early; None where no way keeps one of the limits.

    Example:
        >>> import edgeexit
        >>> from edgeexit.calibration import parse_target
        >>> from edgeexit.calibration.solver.problem import build_problem
        >>> table = edgeexit.ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]], correct=[[1, 1], [0, 1], [0, 1], [1, 1]], cost_s=[1.0, 3.0]
        ... )
        >>> round(bound_goal(build_problem(table, parse_target("accuracy>=1"))), 6)  # minus the seconds of all samples
        -8.0
        >>> bound_goal(build_problem(table, parse_target("mean<=0.5"))) is None
        True
    """
    samples = len(problem.table)
    goal = np.asarray(problem.goal.expand_to_samples(samples), np.float64)
    limits = [np.asarray(limited.expand_to_samples(samples), np.float64) for limited in problem.limits]
    allowed = [limited.limit + limited.slack for limited in problem.limits]
    if any(values.min(axis=1).sum() > most for values, most in zip(limits, allowed, strict=True)):
        return None
    multipliers = np.zeros(len(limits))
    best = _relax(goal, limits, allowed, multipliers)
    for _ in range(_PASSES if len(limits) > 1 else 1):
        for j in range(len(limits)):
            multipliers[j], found = _search_line(goal, limits, allowed, multipliers, j)
            best = min(best, found)
    return best


def _relax(
    goal: NDArray[np.float64],
    limits: Sequence[NDArray[np.float64]],
    allowed: Sequence[float],
    multipliers: NDArray[np.float64],
) -> float:
    """The bound of these multipliers."""
    priced = goal - sum((m * values for m, values in zip(multipliers, limits, strict=True)), np.zeros(1))
    return float(priced.max(axis=1).sum() + np.dot(multipliers, allowed))


def _search_line(
    goal: NDArray[np.float64],
    limits: Sequence[NDArray[np.float64]],
    allowed: Sequence[float],
    multipliers: NDArray[np.float64],
    j: int,
) -> tuple[float, float]:
    """One multiplier by golden sections, in which the bound is convex, and the bound with it."""

    def compute(value: float) -> float:
        tried = multipliers.copy()
        tried[j] = value
        return _relax(goal, limits, allowed, tried)

    steps = np.abs(np.diff(np.sort(limits[j], axis=1), axis=1))
    steps = steps[steps > 0]
    high = (
        2 * float(np.ptp(goal)) / float(steps.min()) if len(steps) else 0.0
    )  # beyond it the limit outweighs the goal in every sample
    low = 0.0
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = compute(a), compute(b)
    for _ in range(_STEPS):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = compute(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = compute(b)
    return min(((a, at_a), (b, at_b), (0.0, compute(0.0))), key=lambda pair: pair[1])
