"""The accuracy pass: each sample once, no claim about time. Its decisions are what every later pass is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.data import Dataset
from edgeexit.measure.result.parts import Accuracy, ExitAccuracy
from edgeexit.measure.shares import find_share_interval, paired_change_interval
from edgeexit.util.progress import Progress

if TYPE_CHECKING:
    from edgeexit.runtime import Backbone, Runner

NO_LABELS = "the data has no labels"


@dataclass(frozen=True)
class Decisions:
    """Decisions for each of n samples.

    Attributes:
        exits: int64 [n], from 1.
        labels: int64 [n], the answer of the early exit.
        backbone: int64 [n], the answer of the backbone.
        scores: float32 [n, N], inner score of every exit.
        answers: int64 [n, N], the answer of every exit.
        truth: int64 [n], or None without labels.
    """

    exits: NDArray[np.int64]
    labels: NDArray[np.int64]
    backbone: NDArray[np.int64]
    scores: NDArray[np.float32]
    answers: NDArray[np.int64]
    truth: NDArray[np.int64] | None

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many samples leave at each exit, int64 [N]."""
        return np.bincount(self.exits - 1, minlength=self.answers.shape[1]).astype(np.int64)

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Which exit is right for which sample, [n, N]; without labels: agrees with the backbone."""
        reference = self.backbone if self.truth is None else self.truth
        return np.asarray(self.answers == reference[:, None])

    def compute_accuracy(self) -> Accuracy:
        """The accuracy of the early exit, of the backbone and of every exit, with 95 % intervals."""
        counts, right = self.counts, None if self.truth is None else self.labels == self.truth
        plain = Accuracy(
            overall=None if right is None else float(right.mean()),
            backbone=None if self.truth is None else float((self.backbone == self.truth).mean()),
            agreement=float((self.labels == self.backbone).mean()),
            reason=NO_LABELS if right is None else None,
            per_exit=tuple(self._compute_exit_accuracy(k + 1, int(counts[k]), right) for k in range(len(counts))),
        )
        if right is None:
            return add_intervals(plain, len(self.exits))
        straight = self.backbone == self.truth
        return add_intervals(plain, len(self.exits), (int((right & ~straight).sum()), int((straight & ~right).sum())))

    def _compute_exit_accuracy(self, exit: int, n: int, right: NDArray[np.bool_] | None) -> ExitAccuracy:
        here = None if right is None or n == 0 else float(right[self.exits == exit].mean())
        alone = None if right is None else float(self.hits[:, exit - 1].mean())
        return ExitAccuracy(exit, n, n / len(self.exits), here, alone)


def add_intervals(accuracy: Accuracy, n: int, moved: tuple[float, float] | None = None) -> Accuracy:
    """The accuracy of n samples with its intervals filled in.

    Args:
        accuracy: accuracy of early exit and backbone.
        n: samples.
        moved: how many samples early exit alone answers rightly, and how many the backbone alone; None where that was not kept,
            as in older results: the widest interval that their agreement allows.
    """
    change = accuracy.change
    if moved is None and change is not None:
        differing = (1.0 - accuracy.agreement) * n
        moved = max(0.0, differing + change * n) / 2, max(0.0, differing - change * n) / 2
    return replace(
        accuracy,
        per_exit=tuple(
            replace(e, accuracy_ci95=find_share_interval(e.accuracy, e.n), alone_ci95=find_share_interval(e.alone, n))
            for e in accuracy.per_exit
        ),
        overall_ci95=find_share_interval(accuracy.overall, n),
        backbone_ci95=find_share_interval(accuracy.backbone, n),
        agreement_ci95=find_share_interval(accuracy.agreement, n),
        change_ci95=None if change is None or moved is None else paired_change_interval(*moved, n),
    )


def run_accuracy_pass(
    runner: Runner, backbone: Backbone, data: Dataset, samples: Sequence[Any], progress: Progress
) -> Decisions:
    """Run each sample once through the early exit, the backbone and every exit.

    Args:
        runner: runner with the thresholds to be measured.
        backbone: backbone of the runner.
        data: the samples as one set.
        samples: the same, one by one, [1, ...] each.
        progress: callback, called every 64 samples.
    """
    n = len(samples)
    exits, labels, straight = (np.empty(n, np.int64) for _ in range(3))
    for i, sample in enumerate(samples):
        answer = runner(sample)
        exits[i], labels[i], straight[i] = answer.exit, answer.label, backbone(sample).label
        if i % 64 == 63 or i == n - 1:
            progress("accuracy", i + 1, n)
    scores, logits = runner.replay(data.inputs, progress)
    return Decisions(exits, labels, straight, scores, logits.argmax(axis=-1).astype(np.int64), data.labels)
