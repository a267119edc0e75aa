"""Temperature scaling of exits' logits: one divisor for each exit, so that its probabilities are as sure as it is right.

Guo et al. (2017), "On Calibration of Modern Neural Networks", section 4.2; one temperature for each exit as in Meronen et al. (2024),
section 3, where an exit that is too sure of itself keeps what it should pass on. Answers stay: the largest logit remains the largest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.criteria.base import Array
from edgeexit.criteria.builtin import softmax
from edgeexit.errors import InputError

HOTTEST = 20.0
"""Temperatures are 1/20 to 20: on samples that an exit gets all right, the likelihood has no maximum."""
_HALVINGS = 30


def fit_temperatures(logits: ArrayLike, labels: ArrayLike) -> tuple[float, ...]:
    """The temperature of each exit that makes the labels most likely.

    Args:
        logits: of every exit, finite, [n, N, classes].
        labels: true classes, or those that the exits are to agree with, int [n].

    Returns:
        divisors of the logits, [N], each 1/20 to 20; above 1 where an exit is more sure of itself than it is right.

    Raises:
        InputError: shapes that do not fit, labels beyond the classes, or logits that are not finite.

    Example:
        >>> from edgeexit.criteria import fit_temperatures
        >>> sure = [[[4.0, 0.0]], [[4.0, 0.0]], [[0.0, 4.0]], [[4.0, 0.0]]]  # 98 % sure, right in 3 of 4
        >>> [round(t, 2) for t in fit_temperatures(sure, [0, 0, 1, 1])]
        [3.64]
    """
    z, truth = np.asarray(logits, np.float64), np.asarray(labels)
    if z.ndim != 3 or truth.shape != z.shape[:1] or not len(z) or truth.dtype.kind not in "iu":
        msg = f"logits must be [samples, exits, classes] and labels whole numbers [samples], not {list(z.shape)} and {list(truth.shape)}."
        raise InputError(msg)
    if truth.min() < 0 or truth.max() >= z.shape[2]:
        msg = f"labels are {truth.min()} to {truth.max()}; the logits have classes 0 to {z.shape[2] - 1}."
        raise InputError(msg)
    if not np.isfinite(z).all():
        msg = "logits that are not finite have no temperature."
        raise InputError(msg)
    return tuple(_fit(z[:, k], truth) for k in range(z.shape[1]))


def _fit(logits: NDArray[np.float64], truth: NDArray[np.integer]) -> float:
    """By bisection: the negative log-likelihood is convex in the inverse of the temperature."""
    low, high = 1 / HOTTEST, HOTTEST
    for _ in range(_HALVINGS):
        inverse = float(np.sqrt(low * high))
        low, high = (low, inverse) if _compute_slope(logits, truth, inverse) > 0 else (inverse, high)
    return float(f"{1 / np.sqrt(low * high):.6g}")


def _compute_slope(logits: NDArray[np.float64], truth: NDArray[np.integer], inverse: float) -> float:
    """Derivative of the negative log-likelihood by the inverse temperature: the expected logit less that of the label."""
    expected = (softmax(logits * inverse) * logits).sum(axis=-1)
    return float(np.mean(expected - logits[np.arange(len(truth)), truth]))


def scale_logits(logits: NDArray[np.floating], temperatures: Sequence[float]) -> Array:
    """Logits [..., N, classes] as criteria take them, with the temperatures [N] of a bundle; as they are where there are none."""
    z = np.asarray(logits, np.float32)
    return z * invert_temperatures(temperatures)[:, None] if len(temperatures) else z


def invert_temperatures(temperatures: Sequence[float]) -> Array:
    """What logits are multiplied with, float32 [N]: the same numbers in NumPy and in the graph."""
    return np.asarray(1 / np.asarray(temperatures, np.float64), np.float32)


def check_temperatures(temperatures: Sequence[float], exits: int) -> str:
    """What is wrong with the temperatures of a network with so many exits; empty where nothing is, as where there are none."""
    sound = len(temperatures) in (0, exits) and all(np.isfinite(t) and t > 0 for t in temperatures)
    return "" if sound else f"temperatures must be {exits} positive numbers, one per exit, not {list(temperatures)}"
