"""Synthetic networks whose truth is known: as many samples as one likes, from one seed."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration import ReplayTable


def world(seed: int, samples: int, exits: int, *, ties: bool = False) -> ReplayTable:
    """A network whose exits get better with depth, unequally calibrated, now and then overthinking; costs in milliseconds.

    `ties` rounds the scores, so that many samples share one.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=samples)
    skill = np.linspace(0.2, 1.8, exits)
    scores, correct = np.empty((samples, exits), np.float32), np.empty((samples, exits), np.bool_)
    for k in range(exits):
        margin = skill[k] - difficulty + 0.6 * rng.normal(size=samples)
        correct[:, k] = margin + 0.4 * rng.normal(size=samples) > 0
        scores[:, k] = 1 / (1 + np.exp(-(margin * rng.uniform(0.6, 2) + 0.5 * rng.normal())))
    if ties:
        scores = np.round(scores, 1)
    costs = np.cumsum(rng.uniform(0.3, 1.5, size=exits)) * 1e-3
    agreement = correct == correct[:, -1:]
    return ReplayTable.from_arrays(
        scores[:, :-1],
        correct,
        costs,
        costs * 2,
        np.full(exits - 1, 2e-5),
        agreement=agreement,
        macs=costs * 1e9,
    )


def every_outcome(table: ReplayTable) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Brute force: quality and mean latency of every distinct combination of thresholds, and the exits of all samples under each.

    Written as plainly as possible; shares nothing with the search.
    """
    axes = [np.concatenate([np.unique(column), [np.float32(np.inf)]]) for column in table.scores.T]
    flags = table.correct if table.correct is not None else table.agreement
    assert flags is not None
    quality, mean, exits = [], [], []
    for combination in itertools.product(*axes):
        leaves = np.full(len(table), table.exits - 1)
        for k in reversed(range(table.exits - 1)):
            leaves[table.scores[:, k] >= combination[k]] = k
        quality.append(flags[np.arange(len(table)), leaves].mean())
        mean.append(np.mean(table.mean_cost_s[leaves]))
        exits.append(leaves)
    return np.array(quality), np.array(mean), np.array(exits)


def budget(table: ReplayTable, share: float) -> float:
    """A mean latency between the cheapest and the dearest exit, seconds."""
    costs = table.mean_cost_s
    return float(costs[0] + share * (costs[-1] - costs[0]))
