"""Finite-sample p-values against "this bound is broken", valid for any distribution of samples drawn independently.

means of bounded values     betting (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting")
shares of a binary event    exact binomial (Clopper and Pearson 1934)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Floats, Indices, ReplayTable
from edgeexit.errors import InputError
from edgeexit.measure.statistics import binomial_cdf

MOST_STAKE = 0.5
"""The largest share of the capital that may be lost in one bet."""


def compute_betting_p_value(values: Floats, limit: float, delta: float) -> Floats:
    """p-values for "the mean is at least `limit`", one per column.

    A gambler who bets that the next value lies below `limit` makes money only if the mean does; 1 / (largest capital reached) is a p-value
    by Ville's inequality. The stake is predictable, made for a decision at `delta` after all n values.

    Args:
        values: float64 [n] or [n, policies] in [0, 1], in random order.
        limit: a number in [0, 1].
        delta: the level at which the p-value will be used; it is valid at every level.

    Returns:
        float64 [policies] (one for [n]).
    """
    x = values.reshape(len(values), -1)
    if limit >= 1:
        return np.full(x.shape[1], 0.0 if limit > 1 else 1.0)
    n = np.arange(1, len(x) + 1)[:, None]
    means = (0.5 + np.cumsum(x, axis=0)) / (n + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2, axis=0)) / (n + 1)
    before = np.vstack([np.full((1, x.shape[1]), 0.25), variances[:-1]])
    stakes = np.minimum(np.sqrt(2 * math.log(1 / delta) / (before * len(x))), MOST_STAKE / (1 - limit))
    gains = np.cumsum(np.log1p(-stakes * (x - limit)), axis=0)
    return np.asarray(np.minimum(1.0, np.exp(-np.maximum(gains.max(axis=0), 0.0))), np.float64)


def compute_mean_p_values(per_exit: Floats, limit: float, leaves: Sequence[Indices], delta: float) -> Floats:
    """p-values for "the mean cost is above `limit`", per policy, given the exit where each sample leaves.

    The costs lie between the cheapest and the dearest exit, so that range is what is bet on.
    """
    low, high = float(per_exit.min()), float(per_exit.max())
    if high <= limit:
        return np.zeros(len(leaves))
    if limit <= low:
        return np.ones(len(leaves))
    values = np.stack([per_exit[at] for at in leaves], axis=1)
    return compute_betting_p_value((values - low) / (high - low), (limit - low) / (high - low), delta)


def compute_share_at_least_p_value(events: NDArray[np.integer], samples: int, limit: float) -> Floats:
    """p-values for "the event happens with probability at least `limit`", given how often it did in `samples` [policies]."""
    return np.array([binomial_cdf(int(e), samples, limit) for e in np.atleast_1d(events)])


def compute_share_at_most_p_value(events: NDArray[np.integer], samples: int, limit: float) -> Floats:
    """p-values for "the event happens with probability at most `limit`", given how often it did in `samples` [policies]."""
    return compute_share_at_least_p_value(samples - np.atleast_1d(events), samples, 1 - limit)


def count_samples_for_share(limit: float, delta: float) -> int:
    """Number of samples without an event that prove a probability below `limit` at level `delta`: 299 for 1 % at 0.05."""
    return math.ceil(math.log(delta) / math.log1p(-limit))


def draw_exceedances(test: ReplayTable, limit_s: float, seed: int) -> NDArray[np.bool_]:
    """For every exit and certify sample one measured latency, drawn without replacement, and whether it is over the limit [N, M].

    Input and latency together are then one draw from what will happen, so that their exceedances are binomial.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    rows = []
    for k, samples in enumerate(test.cost_s, 1):
        if len(samples) > 1 and len(samples) < len(test):
            msg = (
                f"exit {k} has {len(samples)} measured latencies for {len(test)} samples; a proof about a tail needs one for each, "
                "and the certify part others than the choose part. Measure longer (--seconds)."
            )
            raise InputError(msg)
        rows.append(np.full(len(test), samples[0]) if len(samples) == 1 else rng.permutation(samples)[: len(test)])
    return np.stack(rows) > limit_s
