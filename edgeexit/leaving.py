"""The exit rule over many samples at once: a sample leaves at the first exit whose score reaches its threshold.

The engines apply the same rule stage by stage; this is it in NumPy, for tables of scores that were recorded with every exit run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def find_leaves(
    scores: Sequence[NDArray[Any]] | NDArray[Any], thresholds: Sequence[float] | NDArray[Any]
) -> NDArray[np.int64]:
    """Find the exit at which each sample leaves, counted from 0.

    Args:
        scores: per early exit the scores of all samples, [N-1, M]; higher means more confident. NaN never reaches a threshold.
        thresholds: one per early exit, [N-1]; -inf always leaves, +inf never.

    Returns:
        [M]; N-1, the last exit, for samples whose scores reach no threshold.

    Example:
        >>> find_leaves(np.array([[0.9, 0.2, 0.1], [0.1, 0.8, 0.1]]), [0.9, 0.5]).tolist()
        [0, 1, 2]
    """
    leaves = np.full(len(scores[0]), len(scores), np.int64)
    for k in reversed(range(len(scores))):
        leaves[scores[k] >= thresholds[k]] = k
    return leaves


COLLAPSE_SHARE = 0.99
"""Share of the samples at one exit from which the exits count as collapsed: in EENet's thesis (Demir 2019, Table 4.2) 9,996 of 10,000
samples leave at the second of three exits."""


def find_collapse(exit_rates: Sequence[float]) -> int | None:
    """Find the one exit, counted from 1, that nearly all samples leave at; None where they spread.

    Args:
        exit_rates: share of the samples leaving at each exit, [N].

    Example:
        >>> find_collapse([0.0, 0.9996, 0.0004])
        2
    """
    largest = max(range(len(exit_rates)), key=lambda k: exit_rates[k])
    return largest + 1 if exit_rates[largest] >= COLLAPSE_SHARE else None
