"""Percentiles, bounds and intervals, in NumPy and the standard library alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from edgeexit.errors import InputError


def rank(q: float, n: int) -> int:
    """The nearest rank of the q-th percentile of n sorted values, from 1: the smallest r with r / n >= q / 100."""
    return max(1, math.ceil(round(q * n / 100.0, 9)))  # rounded: 99.9 % of 1000 is 999, and not 999.0000000001


def nearest_rank(values: ArrayLike, q: float) -> float:
    """The q-th percentile without interpolation: always one of the values.

    Args:
        values: [n], any order, n >= 1.
        q: in (0, 100].

    Raises:
        InputError: no values, or q outside (0, 100].
    """
    sample = np.asarray(values, np.float64)
    if sample.size == 0 or not 0.0 < q <= 100.0:
        msg = f"no {q} percentile of {sample.size} values; it needs one value at least and 0 < q <= 100"
        raise InputError(msg)
    place = rank(q, sample.size) - 1
    return float(np.partition(sample, place)[place])
