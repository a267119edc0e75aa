"""Baselines: threshold choices of other works behind one interface, for comparison.

branchynet          every combination of 11 evenly spaced values per exit: BranchyNet (2016), section V-B
exit_distribution   exit k gets a share ∝ q^k, one q: "Overthinking in MSDNet" (2022), Algorithm 1
shared              one threshold for all exits: Fast yet Safe (2024)
target_accuracy     per exit, as low as what leaves there is right often enough: PCEE (2024)
hill_climb          greedy steps that grow on success and halve on failure: Apparate (2024)
genetic             selection, crossover, mutation: Dynamic Vision Transformer (2021)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.solver.families import (
    Q_VALUES,
    compute_rank_key,
    find_best_member,
    make_geometric_boundaries,
    make_one_threshold_boundaries,
    refine_family,
)
from edgeexit.calibration.solver.grid import CELLS, Grid, find_starting_points
from edgeexit.calibration.solver.problem import FEW_EXITS, Problem, build_problem
from edgeexit.calibration.solver.ranks import Boundaries, assign_cells
from edgeexit.calibration.solver.search import Policy, make_policy
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.errors import InputError, TargetNotMet, did_you_mean

Baseline: TypeAlias = Callable[[Problem], Boundaries]
"""A problem in, boundaries out: the best of what the method can express, feasible if any of it is."""

SWEEP_VALUES = 11
_POPULATION, _GENERATIONS = 48, 40


def choose_exit_by_exit(problem: Problem) -> Boundaries:
    """A sweep over evenly spaced values, fewer per exit where there are many exits; with more than 8, one exit after the other."""
    ranked, few = problem.ranked, problem.table.exits <= FEW_EXITS
    count = min(SWEEP_VALUES, int(CELLS ** (1 / len(ranked.ranks)))) if few else SWEEP_VALUES
    levels = []
    for distinct, top in zip(ranked.distinct, ranked.tops, strict=True):
        values = np.linspace(distinct[0], distinct[-1], count).astype(np.float32)
        levels.append(np.unique(np.concatenate([[0], np.searchsorted(distinct, values), [top]])).astype(np.int64))
    if not few:
        return _optimize_exit_by_exit(problem, levels)
    placed = tuple(assign_cells(r, lv, top) for r, lv, top in zip(ranked.ranks, levels, ranked.tops, strict=True))
    return find_starting_points(problem, Grid(tuple(levels), placed), 1)[0]


def _optimize_exit_by_exit(problem: Problem, levels: list[NDArray[np.int64]]) -> Boundaries:
    """From "never": each exit at its best value, the others held, until none improves."""
    now, before = problem.ranked.tops, None
    while now != before:
        before = now
        for k, values in enumerate(levels):
            now = find_best_member(problem, [now, *((*now[:k], int(v), *now[k + 1 :]) for v in values)])
    return now


def choose_exit_distribution(problem: Problem) -> Boundaries:
    """The best q of Algorithm 1."""
    return refine_family(problem, lambda q: make_geometric_boundaries(problem.ranked, q), Q_VALUES)


def choose_shared_threshold(problem: Problem) -> Boundaries:
    """The best single threshold, among quantiles of all scores."""
    values = np.quantile(np.concatenate(problem.ranked.distinct), np.linspace(0, 1, 101))
    return refine_family(
        problem, lambda t: make_one_threshold_boundaries(problem.ranked, t), [float(v) for v in values]
    )


def choose_target_accuracy(problem: Problem) -> Boundaries:
    """The best accuracy to ask of what leaves at every exit."""
    return refine_family(
        problem, lambda a: _find_boundaries_for_accuracy(problem, a), [float(a) for a in np.linspace(0.3, 1.0, 36)]
    )


def _find_boundaries_for_accuracy(problem: Problem, accuracy: float) -> Boundaries:
    """Per exit the lowest boundary at which the survivors that leave are right with this share."""
    flags = problem.table.correct if problem.table.correct is not None else problem.table.agreement
    assert flags is not None
    alive, boundaries = np.arange(len(flags)), []
    for k, (ranks, top) in enumerate(zip(problem.ranked.ranks, problem.ranked.tops, strict=True)):
        order = alive[np.argsort(-ranks[alive], kind="stable")]
        right = np.cumsum(flags[order, k]) / np.arange(1, len(order) + 1)
        enough = np.flatnonzero(right >= accuracy)
        boundary = int(ranks[order[enough[-1]]]) if len(enough) else top
        boundaries.append(boundary)
        alive = alive[ranks[alive] < boundary]
    return tuple(boundaries)


def climb_hill(problem: Problem) -> Boundaries:
    """From "never" downwards: of all exits, take the step that gains most; a step that helps doubles, one that does not halves."""
    tops = np.array(problem.ranked.tops)
    steps = np.full(len(tops), 0.05)
    now = tuple(int(t) for t in tops)
    for _ in range(400):
        tries = [_move_boundary(now, tops, k, sign * steps[k]) for k in range(len(tops)) for sign in (-1, 1)]
        best = max(range(len(tries)), key=lambda i: _rate_step(problem, now, tries[i]))
        axis = best // 2
        if compute_rank_key(problem, tries[best]) > compute_rank_key(problem, now):
            now, steps[axis] = tries[best], min(0.1, steps[axis] * 2)
        else:
            steps /= 2
        if steps.max() < 1e-3:
            break
    return now


def _rate_step(problem: Problem, now: Boundaries, tried: Boundaries) -> tuple[float, float]:
    """Within the limits what is gained; beyond them what is lost per violation taken away."""
    violation, goal, _ = compute_rank_key(problem, now)
    other_violation, other_goal, _ = compute_rank_key(problem, tried)
    if violation >= 0:
        return other_violation, other_goal - goal
    relief = other_violation - violation
    return (0.0, (other_goal - goal) / relief) if relief > 0 else (-1.0, 0.0)


def _move_boundary(now: Boundaries, tops: NDArray[np.int64], axis: int, share: float) -> Boundaries:
    moved = round(now[axis] + share * tops[axis])
    return tuple(min(max(moved, 0), int(tops[axis])) if k == axis else b for k, b in enumerate(now))


def evolve_boundaries(problem: Problem) -> Boundaries:
    """A population of boundaries as shares of the ranks; seeded, so that it gives the same each time."""
    rng = np.random.Generator(np.random.PCG64(0))
    tops = np.array(problem.ranked.tops)
    population = rng.random((_POPULATION, len(tops)))
    for _ in range(_GENERATIONS):
        order = sorted(
            range(len(population)),
            key=lambda i: compute_rank_key(problem, _scale_to_boundaries(population[i], tops)),
            reverse=True,
        )
        elite = population[order[: _POPULATION // 4]]
        parents = elite[rng.integers(len(elite), size=(2, _POPULATION - len(elite)))]
        mixed = np.where(rng.random(parents[0].shape) < 0.5, parents[0], parents[1])
        mutated = mixed + rng.normal(0, 0.05, mixed.shape) * (rng.random(mixed.shape) < 0.5)
        population = np.vstack([elite, np.clip(mutated, 0, 1)])
    return max((_scale_to_boundaries(p, tops) for p in population), key=lambda b: compute_rank_key(problem, b))


def _scale_to_boundaries(shares: NDArray[np.float64], tops: NDArray[np.int64]) -> Boundaries:
    return tuple(int(b) for b in np.rint(shares * tops))


BASELINES: dict[str, Baseline] = {
    "branchynet": choose_exit_by_exit,
    "exit_distribution": choose_exit_distribution,
    "shared": choose_shared_threshold,
    "target_accuracy": choose_target_accuracy,
    "hill_climb": climb_hill,
    "genetic": evolve_boundaries,
}
"""Every baseline by name. A new one is a function in this table and nothing else."""


def choose_baseline_policy(name: str, table: ReplayTable, target: str | Target) -> Policy:
    """The policy that a baseline chooses for a target.

    Raises:
        InputError: no baseline of that name; the target cannot be read.
        TargetNotMet: nothing that the baseline can express meets the target.
    """
    if name not in BASELINES:
        msg = f"no baseline named {name!r}.{did_you_mean(name, BASELINES)} Baselines: {', '.join(BASELINES)}."
        raise InputError(msg)
    problem = build_problem(table, parse_target(target))
    found = BASELINES[name](problem)
    if not problem.is_kept_by(found):
        msg = f"no policy of {name} meets '{problem.target}'."
        raise TargetNotMet(msg)
    return make_policy(problem, found, None)
