"""Intervals of shares such as an accuracy: how far the samples at hand fix them."""

from __future__ import annotations

import math

from edgeexit.measure.statistics import NORMAL_95, Interval

_Z = NORMAL_95


def share_interval(share: float, samples: int) -> Interval:
    """Wilson's 95 % interval of a share of `samples` (Wilson 1927); it never leaves 0 to 1.

    Example: `share_interval(1.0, 100)` is 0.963 to 1: a hundred right answers of a hundred are no proof of perfection.
    """
    scale = 1 + _Z * _Z / samples
    centre = (share + _Z * _Z / (2 * samples)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / samples + _Z * _Z / (4 * samples**2))
    low, high = (
        (0.0 if share == 0 else centre - half),
        (1.0 if share == 1 else centre + half),
    )  # exact, free of rounding
    return Interval(max(0.0, low), min(1.0, high))


def find_share_interval(share: float | None, samples: int) -> Interval | None:
    """The interval of a share that may be missing, as an accuracy without labels; None then, and without samples."""
    return None if share is None or not samples else share_interval(share, samples)


def paired_change_interval(gained: float, lost: float, samples: int) -> Interval:
    """The 95 % interval of a change of accuracy on the same samples (Bonett and Price 2012).

    Args:
        gained: number of samples that only the second answers correctly.
        lost: the other way round.
        samples: number of samples.
    """
    first, second = (gained + 1) / (samples + 2), (lost + 1) / (samples + 2)
    change = first - second
    half = _Z * math.sqrt((first + second - change**2) / (samples + 2))
    return Interval(max(-1.0, change - half), min(1.0, change + half))
