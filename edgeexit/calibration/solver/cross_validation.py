"""The overfit guard: below about two thousand samples the best thresholds on the samples need not be the best on new ones.

Four ways of choosing are compared by folds: each chooses on the rest and is judged on the fold, by the goal less the priced limits, so that
a policy that is accurate because it overspends does not win. The way that does best chooses on all samples.

    exact               the optimum of the samples
    bagged              the median, in ranks, of the optima of bootstraps, moved as a whole until it lands on the target
    exit_distribution   one parameter: exit k gets a share ∝ q^k
    shared              one parameter: the same threshold everywhere

Above, the optimum stands: at 10,000 samples neither this choice nor bagging gave a gain above the noise (`fresh_data` among the
benchmarks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edgeexit.calibration.replay import Indices, ReplayTable
from edgeexit.calibration.solver.baselines import choose_exit_distribution, choose_shared_threshold
from edgeexit.calibration.solver.branch_and_bound import fit_multipliers
from edgeexit.calibration.solver.families import refine_family
from edgeexit.calibration.solver.optimum import find_best_policy
from edgeexit.calibration.solver.problem import Problem, build_problem
from edgeexit.calibration.solver.ranks import Boundaries
from edgeexit.calibration.solver.search import (
    NORMAL,
    QUICK,
    Effort,
    Policy,
    find_best_boundaries,
    make_policy,
)
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.errors import InputError, did_you_mean

GUARDED_BELOW = 2000
FOLDS = 5
BOOTSTRAPS = 8

Method: TypeAlias = Callable[[Problem, int], Boundaries]
"""A problem and a seed in, boundaries out."""


@dataclass(frozen=True)
class PolicyChoice:
    """Record of how a policy was chosen.

    Attributes:
        method: a name of METHODS.
        scores: per method compared, what it reached on the folds (share of samples, or minus seconds), limits priced in; empty unguarded.
    """

    method: str
    scores: dict[str, float]


def choose_bagged_policy(problem: Problem, seed: int) -> Boundaries:
    """The median of the bootstraps' optima in ranks, shifted by a common share of the ranks to land on the target."""
    rng = np.random.Generator(np.random.PCG64(seed))
    table, ranked = problem.table, problem.ranked
    drawn = []
    for _ in range(BOOTSTRAPS):
        part = problem.take(rng.integers(len(table), size=len(table)))
        drawn.append(ranked.find_boundaries(part.ranked.compute_thresholds(find_best_boundaries(part, QUICK))))
    middle, tops = np.median(drawn, axis=0), np.array(ranked.tops)

    def shifted(share: float) -> Boundaries:
        return tuple(int(b) for b in np.clip(np.rint(middle + share * tops), 0, tops))

    return refine_family(problem, shifted, [float(s) for s in np.linspace(-0.3, 0.3, 61)], rounds=2)


METHODS: dict[str, Method] = {
    "exact": lambda problem, _seed: find_best_boundaries(problem, QUICK),
    "bagged": choose_bagged_policy,
    "exit_distribution": lambda problem, _seed: choose_exit_distribution(problem),
    "shared": lambda problem, _seed: choose_shared_threshold(problem),
}


def check_method(method: str | None) -> None:
    """Do nothing for a name of METHODS, or None for the comparison of all.

    Raises:
        InputError: something else, with the nearest name.
    """
    if method is not None and method not in METHODS:
        msg = f"no method named {method!r}.{did_you_mean(method, METHODS)} Methods: {', '.join(METHODS)}."
        raise InputError(msg)


def choose_policy(
    table: ReplayTable, target: str | Target, *, seed: int = 0, effort: Effort = NORMAL, method: str | None = None
) -> tuple[Policy, PolicyChoice]:
    """A policy for a target, guarded against overfitting where samples are few.

    Args:
        table: the choose part.
        target: what to tune for.
        seed: random seed of folds and bootstraps.
        effort: effort of the search.
        method: a name of METHODS instead of the comparison.

    Raises:
        InputError: no such method; the target cannot be read.
        TargetNotMet: nothing meets the target.
    """
    return choose_policy_for(build_problem(table, parse_target(target)), seed=seed, effort=effort, method=method)


def choose_policy_for(
    problem: Problem, *, seed: int = 0, effort: Effort = NORMAL, method: str | None = None
) -> tuple[Policy, PolicyChoice]:
    """A policy for a problem; see `choose_policy`."""
    check_method(method)
    exact = find_best_policy(problem, effort)
    scores = _cross_validate(problem, seed) if method is None and len(problem.table) < GUARDED_BELOW else {}
    best = method or (max(scores, key=lambda name: scores[name]) if scores else "exact")
    if best != "exact":
        found = METHODS[best](problem, seed)
        if problem.is_kept_by(found):
            return make_policy(problem, found, None), PolicyChoice(best, scores)
    return exact, PolicyChoice("exact", scores)


def _cross_validate(problem: Problem, seed: int) -> dict[str, float]:
    """Mean over all samples of what each method's policy for the other folds reaches, with overspending priced in."""
    samples = len(problem.table)
    prices = fit_multipliers(problem, find_best_boundaries(problem, QUICK))
    folds = _make_folds(samples, seed)
    totals = dict.fromkeys(METHODS, 0.0)
    for f, held in enumerate(folds):
        rest = problem.take(np.concatenate([fold for g, fold in enumerate(folds) if g != f]))
        judged = problem.take(held)
        for name, method in METHODS.items():
            thresholds = rest.ranked.compute_thresholds(method(rest, seed + f))
            totals[name] += _compute_priced_goal(judged, judged.table.leaves_at(thresholds), prices)
    return {name: total / samples for name, total in totals.items()}


def _compute_priced_goal(problem: Problem, leaves: Indices, prices: list[float]) -> float:
    spent = sum(p * (s.sum_at_exits(leaves) - s.limit) for p, s in zip(prices, problem.limits, strict=True))
    return problem.goal.sum_at_exits(leaves) - spent


def _make_folds(samples: int, seed: int) -> list[Indices]:
    rng = np.random.Generator(np.random.PCG64(seed))
    order = np.argsort(rng.random(samples), kind="stable")
    return [np.sort(part) for part in np.array_split(order, FOLDS)]
