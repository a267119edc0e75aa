"""What a perfect exit rule would bring, how much of it thresholds get, and how often later exits hurt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeexit.calibration.replay import Bools, Indices, ReplayTable
from edgeexit.util import units


@dataclass(frozen=True)
class Headroom:
    """A policy between the last exit and a perfect exit rule, which leaves at the cheapest exit that is right.

    Attributes:
        samples: number of samples that it was counted on.
        unit: of the costs, "s" or "MAC".
        last_accuracy, last_cost: of leaving at the last exit always.
        oracle_accuracy, oracle_cost: of the perfect rule; samples that no exit has right go to the last one.
        accuracy, cost: of the policy.
        reached: share that the policy saves of the cost that the perfect rule saves; None where that saves nothing.
        overthinking: share of the samples that some exit has right and a later one wrong.
        overthinking_last: share of the samples that some exit has right and the last one wrong.
    """

    samples: int
    unit: str
    last_accuracy: float
    last_cost: float
    oracle_accuracy: float
    oracle_cost: float
    accuracy: float
    cost: float
    reached: float | None
    overthinking: float
    overthinking_last: float

    def describe(self) -> str:
        """Three sentences: what a perfect rule would gain, the share of it reached, the share of samples that overthink."""
        oracle, policy = self.oracle_cost / self.last_cost, self.cost / self.last_cost
        what = "time" if self.unit == "s" else "multiply-accumulates"
        part = "" if self.reached is None else f", {units.percent(self.reached, 0)} of that saving,"
        return (
            f"A perfect exit rule would need {units.percent(oracle, 0)} of the last exit's {what} and be right about "
            f"{units.percent(self.oracle_accuracy)} of the samples (the last exit: {units.percent(self.last_accuracy)}). "
            f"These thresholds need {units.percent(policy, 0)}{part} and are right about {units.percent(self.accuracy)}. "
            f"{units.percent(self.overthinking)} of the samples overthink: an exit is wrong where an earlier one is right."
        )


def compute_headroom(table: ReplayTable, leaves: Indices) -> Headroom | None:
    """A policy beside the perfect exit rule on a table; None where it has no labels.

    The perfect rule is the "realistic" upper bound of Voorhout, "Overthinking in MSDNet" (2022), section 3.3; overthinking its equation
    3.11.

    Args:
        table: with labels.
        leaves: int64 [M], the exit at which the policy lets each sample leave, from 0.

    Example:
        >>> table = ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]], correct=[[1, 1], [1, 0], [0, 1], [1, 1]], cost_s=[0.001, 0.003]
        ... )
        >>> found = compute_headroom(table, table.leaves_at([0.5]))
        >>> found.oracle_accuracy, found.oracle_cost, found.cost, found.overthinking
        (1.0, 0.0015, 0.002, 0.25)
        >>> round(found.reached, 3)
        0.667
    """
    if table.correct is None:
        return None
    best, last = find_oracle_leaves(table), table.mean_cost[-1]
    oracle, policy = (float(table.mean_cost[at].mean()) for at in (best, leaves))
    rows = np.arange(len(table))
    overthought = find_overthinking(table.correct)
    return Headroom(
        samples=len(table),
        unit=table.cost_unit,
        last_accuracy=float(table.correct[:, -1].mean()),
        last_cost=float(last),
        oracle_accuracy=float(table.correct.any(axis=1).mean()),
        oracle_cost=oracle,
        accuracy=float(table.correct[rows, leaves].mean()),
        cost=policy,
        reached=float((last - policy) / (last - oracle)) if oracle < last else None,
        overthinking=float(overthought.mean()),
        overthinking_last=float((table.correct.any(axis=1) & ~table.correct[:, -1]).mean()),
    )


def find_oracle_leaves(table: ReplayTable) -> Indices:
    """The cheapest exit that is right about each sample, from 0, int64 [M]; the last one where none is."""
    assert table.correct is not None
    cheapest = np.where(table.correct, table.mean_cost, np.inf).argmin(axis=1)
    return np.where(table.correct.any(axis=1), cheapest, table.exits - 1).astype(np.int64)


def find_overthinking(correct: Bools) -> Bools:
    """Whether some exit has a sample right and a later one has it wrong, [M], from `correct` [M, N]."""
    earlier = np.logical_or.accumulate(correct, axis=1)[:, :-1]  # whether some exit up to here is right
    return np.asarray((earlier & ~correct[:, 1:]).any(axis=1), np.bool_)
