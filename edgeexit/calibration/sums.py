"""The one kind of quantity that targets bound and the search optimises: a sum over samples of a value at the exit where each leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Floats

ROUNDING = 1e-10
"""Relative room for the rounding of long sums; a final policy is checked again from its exact counts."""


@dataclass(frozen=True, eq=False)
class SampleSum:
    """One quantity: Σ over samples i of value(i, exit where i leaves).

    Attributes:
        per_exit: [N], where the value depends on the exit alone; None otherwise.
        per_sample: float32 [M, N], where it depends on both; None otherwise.
        limit: the largest sum allowed, or +inf.
    """

    per_exit: Floats | None
    per_sample: NDArray[np.float32] | None = None
    limit: float = float("inf")

    def get_values(self, exits: NDArray[np.int64], samples: NDArray[np.int64]) -> NDArray[np.floating]:
        """The values of `samples` when they leave at `exits` (same length)."""
        if self.per_exit is not None:
            return np.asarray(self.per_exit[exits])
        assert self.per_sample is not None
        return np.asarray(self.per_sample[samples, exits])

    def sum_at_exits(self, leaves: NDArray[np.int64]) -> float:
        """The sum when sample i leaves at `leaves[i]`."""
        if self.per_exit is not None:
            return float((np.bincount(leaves, minlength=len(self.per_exit)) * self.per_exit).sum())
        return float(self.get_values(leaves, np.arange(len(leaves))).sum(dtype=np.float64))

    def expand_to_samples(self, samples: int) -> NDArray[np.floating]:
        """The values as [M, N]."""
        if self.per_sample is not None:
            return self.per_sample
        assert self.per_exit is not None
        return np.broadcast_to(self.per_exit, (samples, len(self.per_exit)))

    def negate(self) -> SampleSum:
        """Minus this quantity, without a limit."""
        if self.per_exit is not None:
            return SampleSum(-self.per_exit)
        assert self.per_sample is not None
        return SampleSum(None, -self.per_sample)

    @property
    def slack(self) -> float:
        """Allowance for rounding, added to the limit."""
        return ROUNDING * max(1e-300, abs(self.limit)) if np.isfinite(self.limit) else 0.0

    @property
    def rises_with_exits(self) -> bool:
        """True where leaving later never makes it smaller, so that lowering a threshold never breaks its limit."""
        return self.per_exit is not None and bool((np.diff(self.per_exit) >= 0).all())
