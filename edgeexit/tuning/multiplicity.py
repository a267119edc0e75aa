"""As how many independent candidates those of a run count: the winner's curse, and what it takes to keep bounds all the same.

The best of many candidates on the choose part is in part the one that chance favoured most there. A bound holds for the chosen one with the
probability asked for where no candidate at all looks better than it is by more than the room, and by the union bound that probability of an
error is at most that of one candidate times their number. Candidates that err on the same samples are favoured by the same chance, and the
union bound then gives away too much. The probability that any of them looks too good is that of the largest of correlated normal
deviations, with the correlation of their losses on the samples at hand (the Gaussian multiplier bootstrap: Chernozhukov, Chetverikov and
Kato 2013, "Gaussian approximations and multiplier bootstrap for maxima of sums of high-dimensional random vectors", Annals of Statistics
41). Over that of one alone it is the number of independent candidates which they count as.

The tail is far out, where plain simulation would need millions of draws; draws in which one candidate, taken at random, is beyond it have a
bounded weight (Owen, Maximov and Chertkov 2019, "Importance sampling the union of rare events", Electronic Journal of Statistics 13):

    P(any beyond z) = Σ_j P(j beyond z) · E[1 / number beyond z | j beyond z]
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_DRAWS = 4000


def count_independent_candidates(losses: NDArray[np.floating] | NDArray[np.int8], tail: float, seed: int = 0) -> float:
    """As how many independent candidates these count.

    Args:
        losses: what each candidate loses on each sample, such as 1 for a wrong answer, [n, candidates].
        tail: probability with which one candidate alone looks better than it is by more than the room.
        seed: random seed of the draws.

    Returns:
        between 1 (all lose on the same samples, or there is one) and their number (independent); candidates that never differ from sample
        to sample count as none, since chance cannot favour them.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> one = rng.random((500, 1)) < 0.1
        >>> round(count_independent_candidates(np.hstack([one, one, one]), 0.005), 1)
        1.0
    """
    centred = np.asarray(losses, np.float64) - np.mean(losses, axis=0)
    norms = np.sqrt((centred**2).sum(axis=0))
    columns = centred[:, norms > 0] / norms[norms > 0]
    if columns.shape[1] < 2:
        return 1.0
    beyond = -NormalDist().inv_cdf(tail)
    at_once = _count_beyond(columns.T @ columns, beyond, seed)
    return float(max(1.0, columns.shape[1] * np.mean(1 / at_once)))


def _count_beyond(correlation: NDArray[np.float64], beyond: float, seed: int) -> NDArray[np.int64]:
    """Of each draw in which a random candidate is beyond, how many are, [draws]."""
    rng, size = np.random.default_rng(seed), len(correlation)
    values, vectors = np.linalg.eigh(correlation)
    draws = rng.standard_normal((_DRAWS, size)) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    first, row = rng.integers(size, size=_DRAWS), np.arange(_DRAWS)
    normal = NormalDist()
    tail = normal.cdf(-beyond)
    level = np.array(
        [-normal.inv_cdf(u) for u in tail * (1 - rng.random(_DRAWS))]
    )  # a normal number, given that it is beyond
    moved = draws + correlation[first] * (level - draws[row, first])[:, None]  # the others, given the first
    others = (moved > beyond).sum(axis=1) - (moved[row, first] > beyond)
    return np.asarray(others + 1, np.int64)
