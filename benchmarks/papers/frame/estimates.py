"""Means over seeds and paired differences over seeds and samples, with 95 % intervals.

Two things move a figure of a trained network: another seed, and other test samples. With one seed only the samples are known to, and
what holds then holds for these weights; `over` says which it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError
from edgeexit.measure.shares import share_interval
from edgeexit.measure.statistics import NORMAL_95, mean_interval, standard_error


@dataclass(frozen=True)
class Estimate:
    """A figure, or a difference of two.

    Attributes:
        per_seed: by seed.
        mean: over the seeds.
        low, high: 95 % interval; None where nothing says how far it may move.
        over: what the interval covers: "seeds", "samples", "seeds and samples", or "" for none.
    """

    per_seed: Mapping[int, float]
    mean: float
    low: float | None
    high: float | None
    over: str

    @property
    def verdict(self) -> str:
        """Of a difference that was said to be above zero: `confirmed` or `refuted` where the interval is on one side, or `undecided`."""
        if self.low is not None and self.low > 0:
            return "confirmed"
        return "refuted" if self.high is not None and self.high < 0 else "undecided"


def estimate_mean(per_seed: Mapping[int, float]) -> Estimate:
    """The mean over seeds with its interval by Student's t; of one seed without an interval.

    Example:
        >>> found = estimate_mean({0: 0.97, 1: 0.98, 2: 0.99})
        >>> f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}] over {found.over}"
        '0.980 [0.955, 1.005] over seeds'
    """
    values = np.array([*per_seed.values()], np.float64)
    mean = float(values.mean())
    interval = mean_interval(values)
    if interval is not None:
        return Estimate(per_seed, mean, interval.low, interval.high, "seeds")
    return Estimate(per_seed, mean, None, None, "")


def estimate_samples(by_seed: Mapping[int, NDArray[Any]]) -> Estimate:
    """The mean of one number per sample, [n]: over seeds as `estimate_mean`; of one seed over its samples, Wilson's where they are flags.

    Example:
        >>> found = estimate_samples({0: np.array([0.2, 0.2, 1.0, 1.0])})
        >>> f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}] over {found.over}"
        '0.60 [0.15, 1.05] over samples'
    """
    of_seeds = estimate_mean({seed: float(np.mean(values)) for seed, values in by_seed.items()})
    if of_seeds.low is not None:
        return of_seeds
    values = next(iter(by_seed.values()))
    if values.dtype == np.bool_:
        wilson = share_interval(of_seeds.mean, len(values))
        return replace(of_seeds, low=wilson.low, high=wilson.high, over="samples")
    half = NORMAL_95 * standard_error(values.astype(np.float64))
    return replace(of_seeds, low=of_seeds.mean - half, high=of_seeds.mean + half, over="samples")


def compare_samples(larger: Mapping[int, NDArray[Any]], smaller: Mapping[int, NDArray[Any]]) -> Estimate:
    """How far one figure lies above another, paired by seed and by sample.

    The half width is √(t² s²/S + z² v/n): s² the variance of the S seeds' mean differences, v that of the samples' differences averaged
    over the seeds. The first covers another seed, the second other test samples; a little of the second is in the first, too, so that the
    interval is rather too wide. With one seed there is only the second. Seeds may have different numbers of samples, such as those that
    each sends to a later exit; z √(v/n) is then the mean of what it is for each seed, as if their samples erred together.

    Args:
        larger: one number per sample, [n], by seed.
        smaller: of the same samples of each seed; seeds that only one of the two has are left out.

    Raises:
        InputError: no seed in common, or other samples.

    Example:
        >>> import numpy as np
        >>> compare_samples({0: np.ones(50)}, {0: np.arange(50) % 2}).verdict
        'confirmed'
    """
    seeds = [seed for seed in larger if seed in smaller]
    if not seeds or any(larger[s].shape != smaller[s].shape for s in seeds):
        msg = f"figures of seeds {[*larger]} and {[*smaller]} cannot be compared: they need a seed in common, and the same samples"
        raise InputError(msg)
    differences = [larger[s].astype(np.float64) - smaller[s].astype(np.float64) for s in seeds]
    means = np.array([of_seed.mean() for of_seed in differences])
    of_seeds = mean_interval(means)
    half = NORMAL_95 * _find_sample_error(differences)
    if of_seeds is not None:
        half = math.hypot(half, of_seeds.high - float(means.mean()))
    mean, per_seed = float(means.mean()), dict(zip(seeds, means.tolist(), strict=True))
    return Estimate(per_seed, mean, mean - half, mean + half, "samples" if of_seeds is None else "seeds and samples")


def _find_sample_error(differences: Sequence[NDArray[np.float64]]) -> float:
    """Standard error of the mean of all seeds, as far as it comes from the samples."""
    if len({len(of_seed) for of_seed in differences}) == 1:
        return standard_error(np.mean(differences, axis=0))
    return float(np.mean([standard_error(of_seed) for of_seed in differences]))
