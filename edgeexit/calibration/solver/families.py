"""Families of policies with one parameter, cheap to walk: starting points of the search, and baselines to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from edgeexit.calibration.solver.problem import Problem
from edgeexit.calibration.solver.ranks import Boundaries, RankedScores, Ranks

Q_VALUES = tuple(float(q) for q in np.geomspace(0.05, 8.0, 40))
SHARES = tuple(float(s) for s in np.linspace(0.0, 1.0, 41))


def make_boundaries_for_shares(ranked: RankedScores, shares: ArrayLike) -> Boundaries:
    """Thresholds by which exit k gets `shares[k]` of all samples: at each exit the most confident of those still there.

    "Overthinking in MSDNet" (2022), section 3.2.3, Algorithm 1.
    """
    wanted = np.asarray(shares, np.float64) / np.sum(shares)
    alive = np.arange(len(ranked.ranks[0]))
    boundaries = []
    for ranks, top, share in zip(ranked.ranks, ranked.tops, wanted, strict=False):
        take = round(float(share) * len(ranked.ranks[0]))
        here = ranks[alive]
        boundary = _find_boundary_for_count(here, top, take)
        boundaries.append(boundary)
        alive = alive[here < boundary]
    return tuple(boundaries)


def make_geometric_boundaries(ranked: RankedScores, q: float) -> Boundaries:
    """The exit distribution p_k ∝ q^k of Algorithm 1 (there q = p/b with b = 20)."""
    exits = len(ranked.ranks) + 1
    powers = np.log(q) * np.arange(1, exits + 1)
    return make_boundaries_for_shares(ranked, np.exp(powers - powers.max()))


def make_equal_share_boundaries(ranked: RankedScores, share: float) -> Boundaries:
    """Every early exit lets the most confident `share` of all samples leave, or all that are left."""
    boundaries = []
    for ranks, top in zip(ranked.ranks, ranked.tops, strict=True):
        take = round(share * len(ranks))
        boundary = (
            top
            if take <= 0
            else 0
            if take >= len(ranks)
            else int(np.partition(ranks, len(ranks) - take)[len(ranks) - take])
        )
        boundaries.append(boundary)
    return tuple(boundaries)


def _find_boundary_for_count(ranks: Ranks, top: int, take: int) -> int:
    """The boundary that `take` samples of these ranks reach (and those that tie with the last of them)."""
    if take <= 0 or not len(ranks):
        return top
    return 0 if take >= len(ranks) else int(np.partition(ranks, len(ranks) - take)[len(ranks) - take])


def make_one_threshold_boundaries(ranked: RankedScores, threshold: float) -> Boundaries:
    """The same threshold at every early exit."""
    return ranked.find_boundaries(np.full(len(ranked.ranks), threshold, np.float32))


def find_best_member(problem: Problem, members: Iterable[Boundaries]) -> Boundaries:
    """The member that is best for a problem: least violation, then goal, then tie; the first of equals."""
    return max(members, key=lambda b: compute_rank_key(problem, b))


def compute_rank_key(problem: Problem, boundaries: Boundaries) -> tuple[float, float, float]:
    """(minus violation, goal, minus tie) of a policy: larger is better, compared in that order."""
    leaves = problem.ranked.find_leaves(boundaries)
    return -problem.compute_violation(leaves), problem.goal.sum_at_exits(leaves), -problem.tie.sum_at_exits(leaves)


def refine_family(
    problem: Problem, family: Callable[[float], Boundaries], values: Iterable[float], rounds: int = 3
) -> Boundaries:
    """The best member of a family over `values`, then over finer values round the best, `rounds` times."""
    grid = np.array(sorted(values))
    best = float(grid[0])
    for _ in range(rounds):
        best = max((float(v) for v in grid), key=lambda v: compute_rank_key(problem, family(v)))
        at = int(np.searchsorted(grid, best))
        grid = np.linspace(grid[max(0, at - 1)], grid[min(len(grid) - 1, at + 1)], 13)
    return family(best)
