"""Overthinking: a later exit is wrong where an earlier one was right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeexit.analysis.checks import require_correct
from edgeexit.calibration.headroom import find_overthinking
from edgeexit.calibration.replay import Floats, ReplayTable


@dataclass(frozen=True, eq=False)
class Overthinking:
    """Shares of the samples.

    Attributes:
        any_pair: some exit is right and some later one is wrong.
        last_only: the last exit is wrong and some earlier one is right.
        pairs: [N, N]; of exits i and j, that i is right and j wrong. Above the diagonal j is the later one, which overthinks; below it is
            the earlier one, which later exits put right.
    """

    any_pair: float
    last_only: float
    pairs: Floats


def compute_overthinking(table: ReplayTable) -> Overthinking:
    """How often a network overthinks, in each sense of the word.

    `any_pair` is equation 3.11 of Voorhout, "Overthinking in MSDNet" (2022), section 3.3, and the percentage of its table 3.1, whose 15 %
    on SVHN no network can reach in the other sense. `last_only` is the destructive effect of Kaya et al., "Shallow-Deep Networks"
    (2019): what leaving earlier could save at best.

    Args:
        table: with labels; costs and scores are not looked at.

    Raises:
        InputError: the table has no labels.

    Example:
        >>> from edgeexit.calibration import ReplayTable
        >>> table = ReplayTable.from_arrays(
        ...     scores=[[0.9, 0.9]] * 4,
        ...     correct=[[1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 0]],
        ...     cost_s=[0.001, 0.002, 0.003],
        ... )
        >>> found = compute_overthinking(table)
        >>> found.any_pair, found.last_only
        (0.5, 0.25)
        >>> found.pairs.tolist()
        [[0.0, 0.25, 0.25], [0.25, 0.0, 0.25], [0.25, 0.25, 0.0]]
    """
    correct = require_correct(table)
    right, wrong = correct.astype(np.float64), (~correct).astype(np.float64)
    return Overthinking(
        float(find_overthinking(correct).mean()),
        float((correct.any(axis=1) & ~correct[:, -1]).mean()),
        right.T @ wrong / len(table),
    )
