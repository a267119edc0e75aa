"""A table and a target as one problem: maximise a sum over samples, with other sums bounded above.

Every quantity is linear in who leaves where (facts of a multi-exit policy): `SampleSum` is one such quantity, a value per exit
or per sample and exit.
A bound `accuracy >= a` is a sum of minus the right answers bounded by -a·M, and so on, so that the search knows one kind of bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Bools, Indices, ReplayTable
from edgeexit.calibration.solver.ranks import Boundaries, RankedScores
from edgeexit.calibration.sums import SampleSum
from edgeexit.calibration.targets import Target
from edgeexit.errors import InputError

_LARGEST_LIMIT = 1e200

FEW_EXITS = 8
"""Networks with more exits are searched without a grid, which would have fewer than five levels per exit and soon fill the memory."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The optimisation problem.

    Attributes:
        table: the replay table.
        target: the target.
        ranked: the ranks of the table's scores.
        goal: the sum to make as large as possible (right answers, agreements, or minus the latency).
        tie: the sum to make as small as possible among the best.
        limits: the bounded sums.
    """

    table: ReplayTable
    ranked: RankedScores
    target: Target
    goal: SampleSum
    tie: SampleSum
    limits: tuple[SampleSum, ...]

    @property
    def unit(self) -> float:
        """Size of one unit of the certificate in the goal's sum: the samples for shares, the total latency for the mean."""
        return float(len(self.table))

    def with_target(self, target: Target) -> Problem:
        """The problem that another target asks of the same table."""
        return build_problem(self.table, target, self.ranked)

    def take(self, indices: Indices) -> Problem:
        """The problem that the same target asks of only these samples (repeats allowed)."""
        return build_problem(self.table.take(indices), self.target)

    def is_kept_by(self, boundaries: Boundaries) -> bool:
        """Whether these boundaries keep all limits."""
        return self.compute_violation(self.ranked.find_leaves(boundaries)) <= 0

    def compute_violation(self, leaves: NDArray[np.int64]) -> float:
        """Relative violation of a policy's limits; 0 if it keeps them all."""
        return sum(compute_excess(s.sum_at_exits(leaves), s) for s in self.limits)


def compute_excess(value: float, limited: SampleSum) -> float:
    """Excess of `value` over a limit, relative to the range of the sum; 0 within it."""
    return max(0.0, value - limited.limit - limited.slack) / scale(limited)


def scale(limited: SampleSum) -> float:
    """The size of a sum's limit, so that violations of different quantities can be added."""
    return max(abs(limited.limit), 1e-12)


def build_problem(table: ReplayTable, target: Target, ranked: RankedScores | None = None) -> Problem:
    """The problem that `target` asks of `table`, whose ranks may be known already.

    Raises:
        InputError: the table lacks what a bound needs (labels, energy, multiply-accumulates, agreement, the exit).
    """
    ranked = RankedScores.from_scores(table.scores) if ranked is None else ranked
    limits = tuple(_cap_limit(bound.kind.build_sum(table, bound)) for bound in target.bounds)
    mean = SampleSum(table.mean_cost)
    quality = SampleSum(None, _get_quality_flags(table).astype(np.float32))
    if target.minimises_mean:
        worse = SampleSum(None, -quality.per_sample)  # type: ignore[operator]  # made with values just above
        return Problem(table, ranked, target, SampleSum(-table.mean_cost), worse, limits)
    return Problem(table, ranked, target, quality, mean, limits)


def _cap_limit(limited: SampleSum) -> SampleSum:
    """A limit times the samples may be beyond the largest float; an infinite one would make NaN of every comparison with it."""
    return limited if limited.limit <= _LARGEST_LIMIT else replace(limited, limit=_LARGEST_LIMIT)


def _get_quality_flags(table: ReplayTable) -> Bools:
    flags = table.correct if table.correct is not None else table.agreement
    if flags is None:
        msg = "the table does not say where exits agree with the backbone; give agreement= to bound it."
        raise InputError(msg)
    return flags
