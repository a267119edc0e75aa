"""Splits of a data set: made once, by seed, recorded and hashed; and checks for shared samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset
from edgeexit.errors import InputError

Indices = NDArray[np.int64]


def split_calibration(n: int, seed: int, parts: Sequence[float] = (0.8, 0.2)) -> list[Indices]:
    """Disjoint index arrays that together hold 0 .. n - 1 in an order given by the seed, in the given shares.

    Args:
        n: number of samples.
        seed: the same seed gives the same split on every machine.
        parts: shares, positive, summing to 1: (0.8, 0.2) choose and validate, (0.4, 0.4, 0.2) choose, certify and validate.

    Raises:
        InputError: the shares do not sum to 1, or a part would be empty.
    """
    if min(parts, default=0.0) <= 0 or abs(sum(parts) - 1) > 1e-9:
        msg = f"the parts {tuple(parts)} must be positive and sum to 1"
        raise InputError(msg)
    edges = np.rint(n * np.cumsum([0.0, *parts])).astype(int)
    if any(a >= b for a, b in pairwise(edges)):
        msg = f"{n} samples are too few to split into parts of {tuple(parts)}"
        raise InputError(msg)
    order = _shuffle_indices(n, seed)
    return [order[a:b] for a, b in pairwise(edges)]


def split_counts(n: int, seed: int, counts: Sequence[int]) -> list[Indices]:
    """Disjoint, sorted index arrays of these lengths, drawn from 0 .. n - 1 by the seed; the counts sum to n.

    Raises:
        InputError: they do not.
    """
    if sum(counts) != n or min(counts, default=0) <= 0:
        msg = f"parts of {', '.join(map(str, counts))} do not make up {n} samples"
        raise InputError(msg)
    order = _shuffle_indices(n, seed)
    edges = np.cumsum([0, *counts])
    return [np.sort(order[a:b]) for a, b in pairwise(edges)]


def split_by_class(
    labels: NDArray[np.int64], hashes: Sequence[bytes], seed: int, parts: Sequence[float]
) -> list[Indices]:
    """Disjoint, sorted index arrays that together hold every sample, each class in the given shares, rounded.

    Samples of equal content stay together, with the first of them. Every part has a sample of every class.

    Args:
        labels: of the samples.
        hashes: one per sample, equal where the content is.
        seed: the same seed gives the same split on every machine.
        parts: shares, positive, summing to 1.

    Raises:
        InputError: a class has fewer different samples than there are parts.
    """
    first: dict[bytes, int] = {}
    leaders = np.array([first.setdefault(h, i) for i, h in enumerate(hashes)], np.int64)
    own = np.unique(leaders)
    part_of = np.zeros(len(labels), np.int64)
    few = []
    for label in np.unique(labels).tolist():
        mine = own[labels[own] == label]
        if len(mine) < len(parts):
            few.append(f"class {label} has {len(mine)}")
            continue
        order = mine[_shuffle_indices(len(mine), seed + label)]
        part_of[order] = np.repeat(np.arange(len(parts)), _round_shares(len(mine), parts))
    if few:
        msg = f"each of {len(parts)} parts needs a sample of every class, and {', '.join(few)} different ones"
        raise InputError(msg)
    return [np.flatnonzero(part_of[leaders] == k).astype(np.int64) for k in range(len(parts))]


def _round_shares(n: int, parts: Sequence[float]) -> NDArray[np.int64]:
    """Whole numbers that sum to n, in these shares, and each at least 1."""
    shares = np.cumsum([0.0, *parts])
    counts: NDArray[np.int64] = np.diff(np.rint(n * shares).astype(np.int64))
    if counts.min() == 0:
        counts = 1 + np.diff(np.rint((n - len(parts)) * shares).astype(np.int64))
    return counts


def _shuffle_indices(n: int, seed: int) -> Indices:
    """0 .. n - 1 in the order of one PCG64 draw each: numpy promises the stream of the bit generator, not that of `shuffle`."""
    draws = np.random.PCG64(seed).random_raw(n)
    return np.argsort(draws, kind="stable").astype(np.int64)


def hash_indices(indices: NDArray[np.integer]) -> str:
    """Hash of a split, for records: SHA-256 of the little-endian int64 bytes of its indices in order."""
    return hashlib.sha256(np.asarray(indices, "<i8").tobytes()).hexdigest()


def find_overlap(dataset: Dataset, hashes: Iterable[bytes]) -> Indices:
    """Places in `dataset` whose inputs are among samples with these hashes (`Dataset.sample_hashes`), such as the training data."""
    known = hashes if isinstance(hashes, set | frozenset) else set(hashes)
    return np.flatnonzero([h in known for h in dataset.sample_hashes()]).astype(np.int64)
