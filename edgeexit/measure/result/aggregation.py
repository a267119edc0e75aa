"""From samples to figures: each exit by itself first, then the mixture.

An early-exit network's latency has one mode per exit. Its mean is taken over the data set, Σ share · mean of the exit, with the
shares of the accuracy pass, so that which samples a short run happened to draw does not move it. The percentiles are those of the
samples as they ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexit.measure.result.parts import PERCENTILES, Latency, Percentile
from edgeexit.measure.statistics import (
    Interval,
    block_bootstrap_intervals,
    coefficient_of_variation,
    early_stopping_bound,
    lag1_autocorrelation,
    mean_interval,
    mixture_interval,
    nearest_rank,
    tukey_outliers,
)
from edgeexit.measure.timing import TimedSamples

_MOST_FOR_BOOTSTRAP = 200_000


@dataclass(frozen=True)
class TimingSeries:
    """What one process measured of one variant.

    Attributes:
        samples: one per inference.
        exits: int [n], the exit of each, from 1; None where all are of one kind.
    """

    samples: TimedSamples
    exits: NDArray[np.integer] | None = None

    def select_exit(self, exit: int) -> NDArray[np.float64]:
        """The samples that left at this exit, seconds."""
        values = self.samples.values_s
        return values if self.exits is None else values[self.exits == exit]

    def filter(self, keep: NDArray[np.bool_]) -> TimingSeries:
        """The samples where `keep`, bool [n], is true."""
        samples = TimedSamples(self.samples.values_s[keep], self.samples.blocks[keep])
        return TimingSeries(samples, None if self.exits is None else self.exits[keep])

    def restrict_to_exit(self, exit: int) -> TimingSeries:
        """The samples that left at this exit, as a series that is of one exit only."""
        assert self.exits is not None
        return TimingSeries(self.filter(self.exits == exit).samples)


@dataclass(frozen=True)
class ProcessExitTimes:
    """Means and medians of each exit in each process, seconds, [processes, exits]."""

    means: NDArray[np.float64]
    medians: NDArray[np.float64]


def compute_exit_times(
    variants: Sequence[TimingSeries], exits: int, stand_in: ProcessExitTimes | None = None
) -> ProcessExitTimes:
    """The figures of every exit in every process.

    Args:
        variants: one per process.
        exits: number of exits.
        stand_in: figures to use where a process had no sample of an exit: those of the forced loops.
    """
    means, medians = (np.full((len(variants), exits), np.nan) for _ in range(2))
    for p, variant in enumerate(variants):
        for k in range(exits):
            values = variant.select_exit(k + 1)
            if len(values):
                means[p, k], medians[p, k] = values.mean(), nearest_rank(values, 50.0)
            elif stand_in is not None:
                means[p, k], medians[p, k] = stand_in.means[p, k], stand_in.medians[p, k]
    return ProcessExitTimes(means, medians)


def compute_latency(
    variants: Sequence[TimingSeries],
    counts: NDArray[np.int64] | None = None,
    stand_in: ProcessExitTimes | None = None,
    seed: int = 0,
) -> Latency:
    """The latency of one variant from the samples of all processes.

    Args:
        variants: one per process, at least one, none empty.
        counts: int64 [exits], how many of the data set's samples leave at each exit; None for one kind of inference.
        stand_in: see `compute_exit_times`.
        seed: random seed of the resampling.
    """
    weights = np.ones(1, np.int64) if counts is None else counts
    shares, exit_times = weights / weights.sum(), compute_exit_times(variants, len(weights), stand_in)
    mean_s, typical_s = _weight_by_share(exit_times.means, shares), _weight_by_share(exit_times.medians, shares)
    pooled = np.concatenate([variant.samples.values_s for variant in variants])
    outliers = [tukey_outliers(values) for values in _pool_exit_samples(variants, len(weights)) if len(values)]
    return Latency(
        n=len(pooled),
        mean_s=float(mean_s.mean()),
        mean_ci95=mean_interval(mean_s),
        mean_new_data_ci95=None
        if counts is None
        else mixture_interval(np.nan_to_num(exit_times.means), counts, seed=seed),
        typical_s=float(typical_s.mean()),
        min_s=float(pooled.min()),
        iqr_s=nearest_rank(pooled, 75.0) - nearest_rank(pooled, 25.0),
        percentiles=compute_percentiles(pooled, _collect_blocks(variants), seed),
        process_mean_s=tuple(map(float, mean_s)),
        process_typical_s=tuple(map(float, typical_s)),
        between_process_cv=coefficient_of_variation(typical_s),
        lag1=_compute_lag1(variants, int(np.argmax(weights)) + 1),
        outliers_mild=sum(mild for mild, _ in outliers),
        outliers_severe=sum(severe for _, severe in outliers),
    )


def _weight_by_share(figures: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ share · figure of each process; an exit that nothing was measured of weighs nothing."""
    weights = np.where(np.isnan(figures), 0.0, shares)
    return np.asarray((np.nan_to_num(figures) * weights).sum(axis=1) / weights.sum(axis=1), np.float64)


def _pool_exit_samples(variants: Sequence[TimingSeries], exits: int) -> list[NDArray[np.float64]]:
    return [np.concatenate([variant.select_exit(k + 1) for variant in variants]) for k in range(exits)]


def _collect_blocks(variants: Sequence[TimingSeries]) -> list[NDArray[np.float64]]:
    """All blocks of all processes, thinned evenly where there are more samples than a bootstrap needs."""
    total = sum(len(variant.samples) for variant in variants)
    step = max(1, total // _MOST_FOR_BOOTSTRAP)
    found: list[NDArray[np.float64]] = []
    for variant in variants:
        starts = np.flatnonzero(np.diff(variant.samples.blocks)) + 1
        found += [part[::step] for part in np.split(variant.samples.values_s, starts)]
    return found


def compute_percentiles(
    values: NDArray[np.float64], blocks: Sequence[NDArray[np.float64]] = (), seed: int = 0
) -> tuple[Percentile, ...]:
    """Every percentile of a result with its bound; intervals only where blocks are given."""
    intervals: Sequence[Interval | None] = block_bootstrap_intervals(blocks, PERCENTILES, seed=seed) or [None] * 5
    bounds = [early_stopping_bound(values, q) for q in PERCENTILES]
    return tuple(
        Percentile(q, nearest_rank(values, q), bound.value, bound.needed, interval)
        for q, bound, interval in zip(PERCENTILES, bounds, intervals, strict=True)
    )


def _compute_lag1(variants: Sequence[TimingSeries], exit: int) -> float | None:
    found = [value for variant in variants if (value := lag1_autocorrelation(variant.select_exit(exit))) is not None]
    return float(np.mean(found)) if found else None


def split_even_odd(variant: TimingSeries) -> tuple[TimingSeries, TimingSeries]:
    """The even and the odd rounds of a variant: the same thing measured twice, interleaved."""
    odd = variant.samples.blocks % 2 == 1
    return variant.filter(~odd), variant.filter(odd)


def compute_thirds_ratio(variant: TimingSeries, counts: NDArray[np.int64] | None = None) -> float | None:
    """The typical latency of the last third of the rounds over that of the first; None below three rounds."""
    rounds = variant.samples.blocks
    third = (int(rounds.max()) + 1) // 3
    if third < 1:
        return None
    weights = np.ones(1, np.int64) if counts is None else counts
    ends = [variant.filter(rounds < third), variant.filter(rounds > rounds.max() - third)]
    first, last = _weight_by_share(compute_exit_times(ends, len(weights)).medians, weights / weights.sum())
    return float(last / first)


def thin_series(variants: Mapping[int, TimingSeries], most: int) -> dict[int, TimingSeries]:
    """At most `most` samples of each variant, evenly spread, for the raw file."""
    steps = {key: max(1, -(-len(variant.samples) // most)) for key, variant in variants.items()}
    return {key: variant.filter(np.arange(len(variant.samples)) % steps[key] == 0) for key, variant in variants.items()}
