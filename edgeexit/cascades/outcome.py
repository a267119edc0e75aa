"""What a cascade does on samples that no policy was fitted on, from recorded answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from edgeexit.cascades.joining import RULE, THRESHOLD
from edgeexit.cascades.policies import PolicyNetwork
from edgeexit.criteria import criterion, softmax
from edgeexit.errors import InputError
from edgeexit.leaving import find_leaves

_COLLAPSED = 0.999
"""Share of the samples at one end of the cascade from which on there is nothing that a policy decides."""


@dataclass(frozen=True)
class CascadeOutcome:
    """A cascade at a stopping probability of 0.5.

    Attributes:
        samples: number of samples.
        accuracies: of each classifier by itself, [K].
        costs: of each classifier by itself, [K].
        stopped: share of the samples that stop at each, [K].
        accuracy: with the answers so far weighted by their stopping probabilities.
        accuracy_alone: with the answer of the classifier that a sample stops at.
        cost: mean over the samples; one that stops at a classifier has paid for all before it.
    """

    samples: int
    accuracies: tuple[float, ...]
    costs: tuple[float, ...]
    stopped: tuple[float, ...]
    accuracy: float
    accuracy_alone: float
    cost: float

    @staticmethod
    def find(
        logits: NDArray[np.float32],
        labels: NDArray[np.int64],
        costs: Sequence[float],
        policies: Sequence[PolicyNetwork],
    ) -> CascadeOutcome:
        """From the logits of every classifier, [n, K, classes]."""
        p = softmax(logits)
        scores = np.stack([policy.compute_stopping(p[:, k]) for k, policy in enumerate(policies)], axis=1)
        stops = find_leaves(scores.T, [THRESHOLD] * len(policies))
        n, here = len(labels), np.arange(len(labels))
        padded = np.concatenate([scores, np.ones((n, 1))], axis=1)
        answers = criterion(RULE).answers(logits, [1.0] * len(costs), padded).logits.argmax(-1)
        right = logits.argmax(-1) == labels[:, None]
        return CascadeOutcome(
            n,
            tuple(right.mean(axis=0).tolist()),
            tuple(costs),
            tuple((np.bincount(stops, minlength=len(costs)) / n).tolist()),
            float((answers[here, stops] == labels).mean()),
            float(right[here, stops].mean()),
            float(np.array([*accumulate(costs)])[stops].mean()),
        )

    @property
    def is_one_sided(self) -> bool:
        """Whether all samples stop at the first classifier, or none before the last."""
        return max(self.stopped[0], self.stopped[-1]) >= _COLLAPSED

    def check_alpha(self, alpha: float) -> None:
        """Raise an error where the price leaves nothing to decide.

        Raises:
            InputError: all samples stop at the first classifier, or none stops before the last.
        """
        if self.stopped[0] >= _COLLAPSED:
            msg = (
                f"with alpha {alpha:g} all samples stop at the first classifier: running more is priced above what it gains."
                f" Give a smaller one, such as --alpha {alpha / 5:.2g}, or use that classifier alone."
            )
            raise InputError(msg)
        if self.stopped[-1] >= _COLLAPSED:
            msg = (
                f"with alpha {alpha:g} no sample stops before the last classifier, so that the others only cost time."
                f" Give a larger one, such as --alpha {alpha * 5:.2g}, or use the last classifier alone."
            )
            raise InputError(msg)

    def find_better_single(self) -> int | None:
        """The cheapest classifier (from 0) that is by itself as accurate as the cascade and costs no more; None where none is."""
        fitting = [
            k
            for k, (accuracy, cost) in enumerate(zip(self.accuracies, self.costs, strict=True))
            if accuracy >= self.accuracy and cost <= self.cost
        ]
        return min(fitting, key=lambda k: self.costs[k], default=None)
