"""The best that any way of leaving could do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeexit.analysis.checks import require_correct
from edgeexit.calibration.headroom import find_oracle_leaves
from edgeexit.calibration.replay import Floats, ReplayTable


@dataclass(frozen=True, eq=False)
class OracleBound:
    """What a perfect choice of the exit would give.

    Attributes:
        cost: mean cost per sample, in `unit`.
        accuracy: share of right answers.
        exit_rates: share of the samples leaving at each exit, [N]. They add up to less than 1 where samples are not run at all.
        unit: "s" or "MAC".
    """

    cost: float
    accuracy: float
    exit_rates: Floats
    unit: str


def compute_oracle(table: ReplayTable, *, skip_hopeless: bool = False) -> OracleBound:
    """What leaving at the cheapest exit that is right would give: the upper bound of every policy, which knows the answers.

    No policy has a higher accuracy, and none of this accuracy is cheaper than the bound with `skip_hopeless`. Voorhout, "Overthinking in
    MSDNet" (2022), section 3.3, figure 3.7.

    Args:
        table: with labels.
        skip_hopeless: what happens to samples that no exit has right. False: they go to the last exit (the paper's "realistic" bound).
            True: they are not run at all and cost nothing (its "oracle").

    Raises:
        InputError: the table has no labels.

    Example:
        >>> from edgeexit.calibration import ReplayTable
        >>> table = ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]],
        ...     correct=[[1, 1], [1, 0], [0, 1], [0, 0]],
        ...     cost_s=[0.001, 0.003],
        ... )
        >>> bound = compute_oracle(table)
        >>> bound.accuracy, bound.cost, bound.unit, bound.exit_rates.tolist()
        (0.75, 0.002, 's', [0.5, 0.5])
        >>> compute_oracle(table, skip_hopeless=True).cost
        0.00125
    """
    correct = require_correct(table)
    solvable = correct.any(axis=1)
    leaves = find_oracle_leaves(table)
    run = leaves[solvable] if skip_hopeless else leaves
    rates = np.bincount(run, minlength=table.exits) / len(table)
    return OracleBound(float(rates @ table.mean_cost), float(solvable.mean()), rates, table.cost_unit)
