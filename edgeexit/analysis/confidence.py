"""Whether two exits are sure about the same samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeexit.calibration.replay import Floats, ReplayTable
from edgeexit.errors import InputError


@dataclass(frozen=True, eq=False)
class ConfidenceRanks:
    """The samples in the order of two exits' confidence.

    Attributes:
        first, second: rank of each sample among all by the confidence of each exit, float64 [M]: 1 is the least confident one, M the
            most; samples of equal score share the mean of their ranks.
        spearman: Spearman's coefficient, the correlation of the ranks: 1 for the same order, 0 for none in common, -1 for the opposite.
            None where an exit gives all samples the same score.
    """

    first: Floats
    second: Floats
    spearman: float | None


def compare_confidence(table: ReplayTable, first: int, second: int) -> ConfidenceRanks:
    """Rank the samples by the confidence of two exits, whatever the criterion.

    Neighbouring exits whose ranks differ disagree about what is hard. Voorhout, "Overthinking in MSDNet" (2022), section 3.4, figure 3.10,
    which shows the scatter of the ranks; Spearman's coefficient ("The proof and measurement of association", 1904) sums it up.

    Args:
        table: needs no labels.
        first: an early exit, from 1; the last exit has no score.
        second: another.

    Raises:
        InputError: one is no early exit.

    Example:
        >>> from edgeexit.calibration import ReplayTable
        >>> table = ReplayTable.from_arrays(
        ...     scores=[[0.9, 0.7], [0.8, 0.9], [0.3, 0.2], [0.3, 0.1]], correct=None, cost_s=[0.001, 0.002, 0.003]
        ... )
        >>> found = compare_confidence(table, 1, 2)
        >>> found.first.tolist(), found.second.tolist()
        ([4.0, 3.0, 1.5, 1.5], [3.0, 4.0, 2.0, 1.0])
        >>> round(found.spearman, 3)
        0.738
    """
    for exit_ in (first, second):
        if exit_ not in range(1, table.exits):
            msg = f"exit {exit_!r} has no score: the early exits are 1 to {table.exits - 1}."
            raise InputError(msg)
    a, b = (_rank(table.scores[:, exit_ - 1].astype(np.float64)) for exit_ in (first, second))
    varied = bool(np.ptp(a) and np.ptp(b))
    return ConfidenceRanks(a, b, float(np.corrcoef(a, b)[0, 1]) if varied else None)


def _rank(values: Floats) -> Floats:
    """Ranks from 1, the mean of those of equal values."""
    distinct, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle = (last - counts + 1 + last) / 2
    return np.asarray(middle[places.reshape(len(values))], np.float64) if len(distinct) else values
