"""Samples in memory, of data that may be too large for it."""

from __future__ import annotations

import math

import numpy as np

from edgeexit.data import Dataset, TrainingData
from edgeexit.data.splits import split_calibration

MOST_BYTES = 2**29
"""Of the samples that calibration or the measurement hold in memory; more are drawn by the seed."""


def draw_samples(data: TrainingData, most: int, seed: int, skip: int = 0) -> Dataset:
    """At most `most` samples, as many as fit into `MOST_BYTES`, drawn by the seed after `skip` others; all of them in their own order.

    Args:
        data: the data.
        most: largest number of samples.
        seed: the same seed gives the same order, so that draws with other values of `skip` do not overlap.
        skip: number of samples of that order that are left out.
    """
    fitting = max(1, MOST_BYTES // (4 * math.prod(data.shape)))
    (order,) = split_calibration(len(data), seed, (1.0,))
    places = np.sort(order[skip : skip + min(most, fitting)])
    pieces = [places[i : i + 256] for i in range(0, len(places), 256)]
    inputs, labels = zip(*data.batches(pieces), strict=True)
    return Dataset(data.name, np.concatenate(inputs), np.concatenate(labels), class_names=data.class_names)
