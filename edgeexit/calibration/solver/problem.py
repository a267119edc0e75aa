"""A table and a target as one problem: maximise a sum over samples, with other sums bounded above.

Every quantity is linear in who leaves where (facts of a multi-exit policy): `SampleSum` is one such quantity, a value per exit
or per sample and exit.
A bound `accuracy >= a` is a sum of minus the right answers bounded by -a·M, and so on, so that the search knows one kind of bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Bools, Floats, ReplayTable
from edgeexit.calibration.solver.ranks import RankedScores
from edgeexit.calibration.targets import Bound, Target
from edgeexit.errors import InputError
from edgeexit.util.units import format_count

_ENERGY_UNKNOWN = "energy cannot be bounded: it was not measured on this device. Bound mean<= or macs<= instead."
_MACS_UNKNOWN = (
    "macs cannot be bounded: the multiply-accumulates of this network are not known (edgeexit inspect shows n/a where an operator or a "
    "shape cannot be counted). Bound mean<= instead, or compile from the model as it was exported, before a runtime optimised it."
)

ROUNDING = 1e-10
"""Relative room for the rounding of long sums; a final policy is checked again from its exact counts."""

_LARGEST_LIMIT = 1e200

FEW_EXITS = 8
"""Networks with more exits are searched without a grid, which would have fewer than five levels per exit and soon fill the memory."""


@dataclass(frozen=True, eq=False)
class SampleSum:
    """One quantity: Σ over samples i of value(i, exit where i leaves).

    Attributes:
        per_exit: [N], where the value depends on the exit alone; None otherwise.
        per_sample: float32 [M, N], where it depends on both; None otherwise.
        limit: the largest sum allowed, or +inf.
        bound: the bound of the target that it stands for, if any.
    """

    per_exit: Floats | None
    per_sample: NDArray[np.float32] | None = None
    limit: float = float("inf")
    bound: Bound | None = None

    def at(self, exits: NDArray[np.int64], samples: NDArray[np.int64]) -> NDArray[np.floating]:
        """The values of `samples` when they leave at `exits` (same length)."""
        if self.per_exit is not None:
            return np.asarray(self.per_exit[exits])
        assert self.per_sample is not None
        return np.asarray(self.per_sample[samples, exits])

    def of(self, leaves: NDArray[np.int64]) -> float:
        """The sum when sample i leaves at `leaves[i]`."""
        if self.per_exit is not None:
            return float((np.bincount(leaves, minlength=len(self.per_exit)) * self.per_exit).sum())
        return float(self.at(leaves, np.arange(len(leaves))).sum(dtype=np.float64))

    def matrix(self, samples: int) -> NDArray[np.floating]:
        """The values as [M, N]."""
        if self.per_sample is not None:
            return self.per_sample
        assert self.per_exit is not None
        return np.broadcast_to(self.per_exit, (samples, len(self.per_exit)))

    def negated(self) -> SampleSum:
        """Minus this quantity, without a limit."""
        if self.per_exit is not None:
            return SampleSum(-self.per_exit)
        assert self.per_sample is not None
        return SampleSum(None, -self.per_sample)

    @property
    def slack(self) -> float:
        """What rounding may add to the limit."""
        return ROUNDING * max(1e-300, abs(self.limit)) if np.isfinite(self.limit) else 0.0

    @property
    def rises_with_exits(self) -> bool:
        """True where leaving later never makes it smaller, so that lowering a threshold never breaks its limit."""
        return self.per_exit is not None and bool((np.diff(self.per_exit) >= 0).all())


@dataclass(frozen=True, eq=False)
class Problem:
    """What to search for.

    Attributes:
        table, target: what it was made from.
        goal: the sum to make as large as possible (right answers, agreements, or minus the latency).
        tie: the sum to make as small as possible among the best.
        limits: the bounded sums.
    """

    table: ReplayTable
    target: Target
    goal: SampleSum
    tie: SampleSum
    limits: tuple[SampleSum, ...]

    @cached_property
    def ranked(self) -> RankedScores:
        """The ranks of the table's scores."""
        return RankedScores.of(self.table.scores)

    @property
    def unit(self) -> float:
        """What one unit of the certificate is in the goal's sum: the samples for shares, the total latency for the mean."""
        return float(len(self.table))

    def violation(self, leaves: NDArray[np.int64]) -> float:
        """How far beyond its limits a policy is, each relative to its own size; 0 where it keeps them all."""
        return sum(compute_excess(s.of(leaves), s) for s in self.limits)


def compute_excess(value: float, limited: SampleSum) -> float:
    """By how much `value` is over a limit, relative to the range of the sum; 0 within it."""
    return max(0.0, value - limited.limit - limited.slack) / scale(limited)


def scale(limited: SampleSum) -> float:
    """The size of a sum's limit, so that violations of different quantities can be added."""
    return max(abs(limited.limit), 1e-12)


def build_problem(table: ReplayTable, target: Target) -> Problem:
    """The problem that `target` asks of `table`.

    Raises:
        InputError: the table lacks what a bound needs (labels, energy, multiply-accumulates, agreement, the exit).
    """
    samples = len(table)
    limits = tuple(_cap_limit(_build_limit(table, bound)) for bound in target.bounds)
    mean = SampleSum(table.mean_cost_s)
    quality = SampleSum(None, _get_quality_flags(table).astype(np.float32))
    if target.minimises_mean:
        worse = SampleSum(None, -quality.per_sample)  # type: ignore[operator]  # made with values just above
        return Problem(table, target, SampleSum(-table.mean_cost_s), worse, limits)
    assert samples
    return Problem(table, target, quality, mean, limits)


def resolve_limit_s(table: ReplayTable, bound: Bound) -> float:
    """The limit in seconds of a bound on time; `0.6x` is of the backbone's mean."""
    return bound.limit * table.backbone_mean_s if bound.relative else bound.limit


def _cap_limit(limited: SampleSum) -> SampleSum:
    """A limit times the samples may be beyond the largest float; an infinite one would make NaN of every comparison with it."""
    return limited if limited.limit <= _LARGEST_LIMIT else replace(limited, limit=_LARGEST_LIMIT)


def _build_limit(table: ReplayTable, bound: Bound) -> SampleSum:
    samples, metric = len(table), bound.metric
    if metric == "mean":
        return SampleSum(table.mean_cost_s, limit=samples * resolve_limit_s(table, bound), bound=bound)
    if bound.of.tail is not None:
        return SampleSum(table.compute_share_over(bound.limit), limit=samples * bound.of.tail, bound=bound)
    if metric in ("energy", "macs"):
        return SampleSum(_get_cost_per_exit(table, metric), limit=samples * bound.limit, bound=bound)
    if metric == "rate":
        return _build_rate_sum(table, bound)
    return _build_answers_sum(table, bound)


def _get_cost_per_exit(table: ReplayTable, metric: str) -> Floats:
    values = table.energy_j if metric == "energy" else table.macs
    if values is None:
        msg = _ENERGY_UNKNOWN if metric == "energy" else _MACS_UNKNOWN
        raise InputError(msg)
    return values


def _build_rate_sum(table: ReplayTable, bound: Bound) -> SampleSum:
    assert bound.exit is not None
    if bound.exit > table.exits:
        msg = f"{bound}: this network has {format_count(table.exits, 'exit')}."
        raise InputError(msg)
    chosen = np.zeros(table.exits)
    chosen[bound.exit - 1] = -1.0
    return SampleSum(chosen, limit=-len(table) * bound.limit, bound=bound)


def _build_answers_sum(table: ReplayTable, bound: Bound) -> SampleSum:
    flags = _require_agreement(table) if bound.metric == "agreement" else _require_correct(table, bound)
    least = bound.limit * len(table)
    if bound.metric == "drop":
        least = int(table.backbone_right.sum()) - bound.limit / 100 * len(table)
    return SampleSum(None, -flags.astype(np.float32), limit=-least, bound=bound)


def _require_correct(table: ReplayTable, bound: Bound) -> Bools:
    if table.correct is None:
        msg = f"{bound} needs labels; without them bound the agreement with the backbone: agreement>=0.99."
        raise InputError(msg)
    return table.correct


def _require_agreement(table: ReplayTable) -> Bools:
    if table.agreement is None:
        msg = "the table does not say where exits agree with the backbone; give agreement= to bound it."
        raise InputError(msg)
    return table.agreement


def _get_quality_flags(table: ReplayTable) -> Bools:
    return table.correct if table.correct is not None else _require_agreement(table)
