"""Four classes of three clusters each in eight dimensions: a line tells most of them apart, and not all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def make_samples(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inputs [count, 8] and labels [count]; the clusters are the same for every seed."""
    centres = np.random.default_rng(7).normal(scale=2.0, size=(12, 8))
    generator = np.random.default_rng(seed)
    cluster = generator.integers(12, size=count)
    x = centres[cluster] + generator.normal(size=(count, 8))
    return x.astype(np.float32), (cluster % 4).astype(np.int64)
