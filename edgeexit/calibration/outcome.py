"""The outcome of a policy on a set of samples: counts per exit, shares and means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


class HasQuality:
    """What a policy does to the answers; base of `Outcome` and of `Policy`, which have these fields.

    Attributes:
        accuracy: share of answers that are right; None without labels.
        agreement: share of answers that are the backbone's; None where not recorded.
    """

    accuracy: float | None
    agreement: float | None

    @property
    def quality(self) -> float:
        """Accuracy, or agreement where there are no labels."""
        value = self.accuracy if self.accuracy is not None else self.agreement
        assert value is not None
        return value


@dataclass(frozen=True)
class Outcome(HasQuality):
    """The outcome of a policy on a set of samples.

    Attributes:
        counts: samples leaving at each exit, [N].
        accuracy, agreement: shares; None where the table has no labels, no recorded agreement.
        mean_s: mean latency, seconds; NaN where the table has none. energy_j, macs: means per inference; None where not known.
    """

    counts: tuple[int, ...]
    accuracy: float | None
    agreement: float | None
    mean_s: float
    energy_j: float | None
    macs: float | None

    @property
    def exit_rates(self) -> tuple[float, ...]:
        """Share of samples leaving at each exit, [N]."""
        total = sum(self.counts)
        return tuple(c / total for c in self.counts)


def compute_mean_cost(counts: ArrayLike, per_exit: NDArray[np.float64]) -> float:
    """Mean of a cost per exit [N] when `counts` [N] samples leave at each: the one place where such a mean is made, so that the same
    counts always give the same float.
    """
    counts = np.asarray(counts, np.float64)
    return float((counts * per_exit).sum() / counts.sum())
