"""Percentiles, bounds and intervals, in NumPy and the standard library alone.

Which interval is for what:

    nearest_rank                 the figure itself: always a value that was measured
    early_stopping_bound         a latency that the true percentile exceeds with at most 1 % risk, or how many samples it needs
    order_statistic_interval     both sides of a percentile, samples independent
    block_bootstrap_intervals    both sides of a percentile, samples that hang together within blocks
    mean_interval                a mean, from the means of independent processes (t; exact for as few as two)
    mixture_interval             a mean on new data: adds that new samples leave at other exits
    ratio_interval               the ratio of two means of processes, paired or not (t on logarithms)

Below about 20 processes a bootstrap over processes covers too little (Cameron, Gelbach & Miller 2008, section I), so means and
ratios use t. All are tested against simulated truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.errors import InputError

_TINY = 1e-300
NORMAL_95 = NormalDist().inv_cdf(0.975)
"""Standard errors of half a two-sided 95 % interval of the normal distribution, 1.96."""


@dataclass(frozen=True)
class Interval:
    """low <= high, in the unit of the values it came from; covers the truth with the confidence asked for."""

    low: float
    high: float


@dataclass(frozen=True)
class PercentileBound:
    """An upper bound of a percentile.

    Attributes:
        value: the bound, in the unit of the samples; None when there are too few.
        needed: number of samples that the bound needs.
    """

    value: float | None
    needed: int


def rank(q: float, n: int) -> int:
    """The nearest rank of the q-th percentile of n sorted values, from 1: the smallest r with r / n >= q / 100."""
    return max(1, math.ceil(round(q * n / 100.0, 9)))  # rounded: 99.9 % of 1000 is 999, and not 999.0000000001


def nearest_rank(values: ArrayLike, q: float) -> float:
    """The q-th percentile without interpolation: always one of the values.

    Args:
        values: [n], any order, n >= 1.
        q: a number in (0, 100].

    Raises:
        InputError: no values, or q outside (0, 100].
    """
    sample = np.asarray(values, np.float64)
    if sample.size == 0 or not 0.0 < q <= 100.0:
        msg = f"no {q} percentile of {sample.size} values; it needs one value at least and 0 < q <= 100"
        raise InputError(msg)
    place = rank(q, sample.size) - 1
    return float(np.partition(sample, place)[place])


def regularized_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), the regularized incomplete beta function, for 0 <= x <= 1 and a, b > 0.

    By the continued fraction of DLMF 8.17.22, evaluated with the modified Lentz method.
    """
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast only below its turning point
        return 1.0 - regularized_beta(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / a * _beta_fraction(x, a, b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    value, c, d = 1.0, 1.0, 0.0
    for term in range(200_000):
        m = term // 2
        if term == 0:
            numerator = 1.0
        elif term % 2:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        else:
            numerator = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d = 1.0 / _avoid_zero(1.0 + numerator * d)
        c = _avoid_zero(1.0 + numerator / c)
        value *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return value - 1.0  # the loop evaluates 1 + 1/(1 + d1/(1 + d2/...)), whose tail is the fraction


def _avoid_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for X binomial with n trials of probability p."""
    if k < 0:
        return 0.0
    return 1.0 if k >= n else regularized_beta(1.0 - p, n - k, k + 1)


@lru_cache(maxsize=256)
def t_quantile(probability: float, freedom: int) -> float:
    """The value that Student's t with `freedom` >= 1 degrees stays below with `probability` in (0, 1)."""
    if probability < 0.5:
        return -t_quantile(1.0 - probability, freedom)
    low, high = 0.0, 1.0
    while _t_cdf(high, freedom) < probability:
        high *= 2.0
    while low < (middle := (low + high) / 2.0) < high:
        low, high = (middle, high) if _t_cdf(middle, freedom) < probability else (low, middle)
    return (low + high) / 2.0


def _t_cdf(t: float, freedom: float) -> float:
    return 1.0 - regularized_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5) / 2.0


def early_stopping_bound(values: ArrayLike, q: float, confidence: float = 0.99) -> PercentileBound:
    """The latency estimate of MLPerf LoadGen's early stopping for the q-th percentile: an upper confidence bound.

    With n samples, t is the largest number of samples over a limit that still proves, at `confidence`, that at most
    (100 - q) % of all are over it: P(Bin(n, 1 - q/100) <= t) <= 1 - confidence. The t - 1 highest samples are discarded and the
    largest of the rest is the bound (LoadGen, early_stopping.cc; MLPerf inference rules, "Early Stopping"). Samples are taken as
    independent; where they hang together the bound is too low.

    Args:
        values: [n] in any unit; n may be 0.
        q: a number in (0, 100).
        confidence: a number in (0, 1).
    """
    sample = np.asarray(values, np.float64)
    over, needed = _count_allowed_over(sample.size, q, confidence), count_samples_for_bound(q, confidence)
    if over < 1:
        return PercentileBound(None, needed)
    place = sample.size - over
    return PercentileBound(float(np.partition(sample, place)[place]), needed)


@lru_cache(maxsize=256)
def _count_allowed_over(n: int, q: float, confidence: float) -> int:
    share = 1.0 - q / 100.0
    low, high = -1, math.ceil(n * share)  # at the mean count the probability is near one half: never proof
    while high - low > 1:
        middle = (low + high) // 2
        proof = binomial_cdf(middle, n, share) <= 1.0 - confidence
        low, high = (middle, high) if proof else (low, middle)
    return low


@lru_cache(maxsize=256)
def count_samples_for_bound(q: float, confidence: float = 0.99) -> int:
    """The smallest number of samples for which `early_stopping_bound` gives a value; 662 for q=99 at 99 %."""
    share = 1.0 - q / 100.0
    low, high = 1, 2
    while binomial_cdf(1, high, share) > 1.0 - confidence:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_cdf(1, middle, share) <= 1.0 - confidence else (middle, high)
    return high


def order_statistic_interval(values: ArrayLike, q: float, confidence: float = 0.95) -> Interval | None:
    """A two-sided interval of the q-th percentile between two of the samples; None where there are too few.

    Distribution-free: the number of samples below the true percentile is binomial (David & Nagaraja 2003, section 7.1).
    """
    sample, tail = np.sort(np.asarray(values, np.float64)), (1.0 - confidence) / 2.0
    n, p = sample.size, q / 100.0
    low = _find_largest_rank(n, p, tail)
    high = _find_largest_rank(n, 1.0 - p, tail)
    return Interval(float(sample[low - 1]), float(sample[n - high])) if low and high else None


@lru_cache(maxsize=256)
def _find_largest_rank(n: int, p: float, tail: float) -> int:
    """The largest r with P(Bin(n, p) <= r - 1) <= tail; 0 where there is none."""
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_cdf(middle - 1, n, p) <= tail else (low, middle)
    return low


def block_bootstrap_intervals(
    blocks: Sequence[NDArray[np.float64]],
    qs: Sequence[float],
    *,
    confidence: float = 0.95,
    draws: int = 200,
    seed: int = 0,
) -> list[Interval] | None:
    """Two-sided intervals of percentiles, for samples that hang together within blocks; None below 10 blocks.

    Whole blocks are drawn with replacement, so that what a block shares (clocks, other load) stays together (Künsch 1989).

    Args:
        blocks: the samples of each block.
        qs: the percentiles, each in (0, 100].
        confidence: a number in (0, 1).
        draws: number of resamples.
        seed: random seed of the resampling.
    """
    if len(blocks) < 10:
        return None
    values, owner = np.concatenate(blocks), np.repeat(np.arange(len(blocks)), [len(b) for b in blocks])
    order = np.argsort(values, kind="stable")
    ranked, owner = values[order], owner[order]
    rng, found = np.random.default_rng(seed), np.empty((draws, len(qs)))
    for draw in range(draws):
        times = np.bincount(rng.integers(len(blocks), size=len(blocks)), minlength=len(blocks))
        running = np.cumsum(times[owner])  # how many of the resample are at or below each sorted value
        found[draw] = ranked[np.searchsorted(running, [rank(q, int(running[-1])) for q in qs])]
    tail = 50.0 * (1.0 - confidence)
    return [Interval(nearest_rank(column, tail), nearest_rank(column, 100.0 - tail)) for column in found.T]


def mean_interval(means: ArrayLike, confidence: float = 0.95) -> Interval | None:
    """The interval of a mean from the means of independent processes, by Student's t; None below two processes."""
    sample = np.asarray(means, np.float64)
    if sample.size < 2:
        return None
    half = t_quantile((1.0 + confidence) / 2.0, sample.size - 1) * standard_error(sample)
    return Interval(float(sample.mean() - half), float(sample.mean() + half))


def standard_error(values: NDArray[np.float64]) -> float:
    """Standard error of the mean of independent values [n], n >= 2."""
    return float(values.std(ddof=1) / math.sqrt(values.size))


def mixture_interval(
    means: NDArray[np.float64],
    counts: NDArray[np.int64],
    *,
    confidence: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
) -> Interval | None:
    """The interval of a mixture's mean on new data of the same kind: timing and exit shares both uncertain.

    The shares are redrawn as a multinomial (the stratified bootstrap), the timing error as a Student t over processes.

    Args:
        means: [processes, exits], the mean of each exit in each process; processes >= 2, else None is returned.
        counts: [exits], how many of the data set's samples left at each exit.
        confidence: a number in (0, 1).
        draws: number of resamples.
        seed: random seed of the resampling.
    """
    if len(means) < 2:
        return None
    rng, n = np.random.default_rng(seed), int(counts.sum())
    shares = rng.multinomial(n, counts / n, size=draws) / n
    timing = rng.standard_t(len(means) - 1, size=draws) * standard_error(means @ (counts / n))
    found = shares @ means.mean(axis=0) + timing
    tail = 50.0 * (1.0 - confidence)
    return Interval(nearest_rank(found, tail), nearest_rank(found, 100.0 - tail))


def ratio_interval(
    reference: ArrayLike, candidate: ArrayLike, *, paired: bool, confidence: float = 0.95
) -> tuple[float, Interval | None]:
    """The ratio candidate / reference of two figures measured in several processes, and its interval by t on logarithms.

    Args:
        reference: [processes], positive.
        candidate: [processes], positive; of the same processes when paired.
        paired: whether value i of both comes from the same process (or the same round).
        confidence: a number in (0, 1).

    Returns:
        The geometric mean ratio, and its interval; None for the interval with fewer than two values on a side.
    """
    a, b = np.log(np.asarray(reference, np.float64)), np.log(np.asarray(candidate, np.float64))
    middle = float(b.mean() - a.mean())
    if min(a.size, b.size) < 2:
        return math.exp(middle), None
    error, freedom = (standard_error(b - a), a.size - 1) if paired else _compute_welch(a, b)
    half = t_quantile((1.0 + confidence) / 2.0, freedom) * error
    return math.exp(middle), Interval(math.exp(middle - half), math.exp(middle + half))


def _compute_welch(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, int]:
    """Standard error of the difference of two means and its degrees of freedom, rounded down (Welch 1947)."""
    one, two = standard_error(a) ** 2, standard_error(b) ** 2
    if one + two == 0.0:
        return 0.0, 1
    freedom = (one + two) ** 2 / (one**2 / (a.size - 1) + two**2 / (b.size - 1))
    return math.sqrt(one + two), max(1, int(freedom))


def coefficient_of_variation(values: ArrayLike) -> float | None:
    """The standard deviation over the mean, of [n] positive values; None below two."""
    sample = np.asarray(values, np.float64)
    return float(sample.std(ddof=1) / sample.mean()) if sample.size >= 2 else None


def lag1_autocorrelation(values: ArrayLike) -> float | None:
    """The correlation of each value with the next; None below three values or where all are equal."""
    sample = np.asarray(values, np.float64)
    if sample.size < 3 or sample.std() == 0.0:
        return None
    off = sample - sample.mean()
    return float((off[1:] * off[:-1]).sum() / (off * off).sum())


def tukey_outliers(values: ArrayLike) -> tuple[int, int]:
    """How many values [n] lie beyond 1.5 and beyond 3 interquartile ranges outside the quartiles (Tukey's fences)."""
    sample = np.asarray(values, np.float64)
    low, high = nearest_rank(sample, 25.0), nearest_rank(sample, 75.0)
    beyond = np.maximum(low - sample, sample - high)
    return int((beyond > 1.5 * (high - low)).sum()), int((beyond > 3.0 * (high - low)).sum())
