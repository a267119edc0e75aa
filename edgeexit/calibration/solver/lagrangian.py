"""A problem with its limits as prices: the goal less the priced sums, per sample and exit (a Lagrangian relaxation)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Floats, Indices
from edgeexit.calibration.solver.problem import Problem
from edgeexit.calibration.solver.ranks import Ranks

ROUND_UP = 1e-6
"""Allowance for rounding in a bound that counts samples."""


@dataclass(frozen=True, eq=False)
class LagrangianProblem:
    """The problem with its limits as prices.

    Attributes:
        ranks: rank of each sample's score at each early exit, [N-1, M].
        exits: number of exits, N.
        limits: upper limits of the limited sums, rounding included, [limits].
        sums: the goal, then each limited sum: values [N, M] or, where they depend on the exit alone, [N, 1].
        rising: which limits only rise with the exits.
        whole: True where the goal counts samples, so that bounds may be rounded down.
    """

    ranks: Ranks
    exits: int
    limits: Floats
    sums: tuple[Floats, ...]
    rising: NDArray[np.bool_]
    whole: bool

    @classmethod
    def from_problem(cls, problem: Problem) -> LagrangianProblem:
        """Lay out the values by exit."""
        values = []
        for quantity in (problem.goal, *problem.limits):
            per_exit = quantity.per_exit is not None
            matrix = quantity.expand_to_samples(1 if per_exit else len(problem.table))
            values.append(np.ascontiguousarray(matrix.T, np.float64))
        return cls(
            ranks=np.stack(problem.ranked.ranks),
            exits=problem.table.exits,
            limits=np.array([s.limit + s.slack for s in problem.limits]),
            sums=tuple(values),
            rising=np.array([s.rises_with_exits for s in problem.limits], np.bool_),
            whole=problem.goal.per_sample is not None,
        )

    def sum_at_exits(self, exits: Indices, samples: Indices) -> Floats:
        """Every sum over `samples` that leave at `exits`, [1 + limits]."""
        return np.array([v[exits, samples if v.shape[1] > 1 else 0].sum() for v in self.sums])

    def weights(self, prices: Floats, samples: Indices | None = None) -> Floats:
        """The goal less the priced sums of samples (all of them by default), [N, samples]."""
        goal, *limited = (v[:, samples] if samples is not None and v.shape[1] > 1 else v for v in self.sums)
        count = self.ranks.shape[1] if samples is None else len(samples)
        priced = sum((p * v for p, v in zip(prices, limited, strict=True) if p), np.zeros((self.exits, count)))
        return np.asarray(goal - priced, np.float64)

    def round_down(self, bound: float) -> float:
        """A bound, rounded down where the goal counts samples."""
        return float(np.floor(bound + ROUND_UP)) if self.whole and np.isfinite(bound) else bound
