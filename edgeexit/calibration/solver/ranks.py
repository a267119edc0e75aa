"""Scores as ranks: a search needs only the order of the samples by confidence.

A threshold at exit k becomes a boundary b in 0..D_k among the D_k distinct scores of that exit, and a sample leaves when its rank is >= b.
At boundary 0 every sample leaves, at D_k none does; each boundary in between stands for one float32 threshold, the midpoint of two
neighbouring scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.leaving import find_leaves

Ranks: TypeAlias = NDArray[np.int32]
Boundaries: TypeAlias = tuple[int, ...]

TAIL_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Extra levels of a grid near both ends: a p99 target is decided by the last two per cent of samples."""


@dataclass(frozen=True, eq=False)
class RankedScores:
    """The ranks of a table's scores.

    Attributes:
        ranks: int32, one row of M per early exit: the rank of each sample's score among the distinct ones, from 0.
        distinct: per early exit, its distinct scores in rising order, float32 [D_k].
    """

    ranks: tuple[Ranks, ...]
    distinct: tuple[NDArray[np.float32], ...]

    @classmethod
    def from_scores(cls, scores: NDArray[np.float32]) -> RankedScores:
        """Rank scores [M, N-1]."""
        made = [np.unique(column, return_inverse=True) for column in scores.T]
        return cls(tuple(inverse.ravel().astype(np.int32) for _, inverse in made), tuple(values for values, _ in made))

    @cached_property
    def tops(self) -> tuple[int, ...]:
        """The boundary that no sample reaches, D_k, per early exit."""
        return tuple(len(d) for d in self.distinct)

    def compute_thresholds(self, boundaries: Sequence[int]) -> NDArray[np.float32]:
        """The float32 thresholds [N-1] of boundaries."""
        return np.array(
            [find_threshold_between(d, b) for d, b in zip(self.distinct, boundaries, strict=True)], np.float32
        )

    def find_boundaries(self, thresholds: ArrayLike) -> Boundaries:
        """The boundaries at which these thresholds [N-1] stand: which samples leave is the same."""
        inner = np.asarray(thresholds, np.float32)
        return tuple(int(np.searchsorted(d, t, side="left")) for d, t in zip(self.distinct, inner, strict=True))

    def find_leaves(self, boundaries: Sequence[int]) -> NDArray[np.int64]:
        """The exit at which each sample leaves, from 0, [M]."""
        return find_leaves(self.ranks, boundaries)


def find_threshold_between(distinct: NDArray[np.float32], boundary: int) -> float:
    """The float32 threshold that the scores of rank >= `boundary` reach and the others do not.

    The midpoint of two neighbouring floats may round to the lower one, which would let it leave; then it is the upper one.
    """
    if boundary <= 0:
        return -math.inf
    if boundary >= len(distinct):
        return math.inf
    below, above = distinct[boundary - 1], distinct[boundary]
    middle = np.float32((np.float64(below) + np.float64(above)) / 2)
    return float(middle if middle > below else above)


def compute_quantile_levels(ranks: Ranks, top: int, count: int) -> NDArray[np.int64]:
    """About `count` boundaries that cut the samples of these ranks into equal shares, finer at both ends, with 0 and `top`."""
    if top + 1 <= count:
        return np.arange(top + 1)
    ordered = np.sort(ranks)
    tails = [s for s in TAIL_SHARES if count > 3 * len(TAIL_SHARES)]
    shares = np.concatenate([np.linspace(0, 1, max(2, count - len(tails)))[1:-1], tails])
    inner = ordered[(shares * len(ordered)).astype(np.int64)] if len(ordered) else np.zeros(0, np.int64)
    return np.unique(np.concatenate([[0, top], inner]).astype(np.int64))


def assign_cells(ranks: Ranks, levels: NDArray[np.int64], top: int) -> NDArray[np.int64]:
    """For each sample the largest index into `levels` whose boundary it reaches; it leaves at level p when p <= that index."""
    # A running count of the levels up to each rank, less one, is the index of the last of them; as fast as one look-up per sample.
    marks = np.zeros(top + 1, np.int64)
    marks[levels] = 1
    return np.asarray((np.cumsum(marks) - 1)[ranks], np.int64)
