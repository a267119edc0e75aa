"""Metrics of how good the answers are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeexit.calibration.bounds import compute_betting_p_value, compute_share_at_most_p_value
from edgeexit.calibration.metrics.base import AtLeastShare, Metric, Performance, PictureAxis
from edgeexit.calibration.replay import Bools, Floats, Indices, ReplayTable
from edgeexit.calibration.sums import SampleSum
from edgeexit.calibration.uncertainty import ExitSample
from edgeexit.errors import InputError

if TYPE_CHECKING:
    from edgeexit.calibration.targets import Bound

NEEDS_LABELS = "{bound} needs labels; without them bound the agreement with the backbone: agreement>=0.99."


@dataclass(frozen=True)
class AnswerShare(AtLeastShare):
    """The share of answers with a property.

    Attributes:
        flags: whether each exit's answer to each sample has it, bool [M, N]; None where a table does not say.
        unknown: what to say then, after the bound.
        backbone_has_it: True where every answer of the backbone has it.
    """

    flags: Callable[[ReplayTable], Bools | None] = lambda table: table.correct
    unknown: str = ""
    backbone_has_it: bool = False
    of_cost: ClassVar[bool] = False
    axis: ClassVar[PictureAxis] = "quality"

    def get_flags(self, table: ReplayTable, bound: Bound) -> Bools:
        """Whether each answer has the property, [M, N]."""
        return _require(self.flags(table), bound, self.unknown)

    def build_sum(self, table: ReplayTable, bound: Bound) -> SampleSum:
        flags = self.get_flags(table, bound)
        return SampleSum(None, -flags.astype(np.float32), limit=-(bound.limit * len(table)))

    def compute_p_values(
        self, test: ReplayTable, bound: Bound, leaves: Sequence[Indices], delta: float, seed: int
    ) -> Floats:
        good = _select_flags(self.get_flags(test, bound), leaves)
        return compute_share_at_most_p_value(good.sum(axis=0), len(test), bound.limit)

    def get_value(self, bound: Bound, performance: Performance, table: ReplayTable) -> float:
        value = performance.agreement if self.backbone_has_it else performance.accuracy
        assert value is not None
        return value

    def compute_half_width(self, bound: Bound, sample: ExitSample, timing: float) -> float:
        if self.backbone_has_it and not sample.early and sample.table.last_is_backbone:
            return 0.0
        value = self.get_value(bound, sample.table.evaluate_leaves(sample.leaves), sample.table)
        return sample.share_error(value)

    def compute_allowed_loss(self, bound: Bound) -> float | None:
        return 1 - bound.limit

    def scale_allowed_loss(self, bound: Bound, share: float) -> Bound:
        return replace(bound, limit=1 - share * (1 - bound.limit))


class AccuracyDrop(Metric):
    """Percentage points of accuracy below the backbone."""

    low: ClassVar[float] = -100.0
    high: ClassVar[float] = 100.0
    possible: ClassVar[tuple[float, float]] = (-100.0, math.inf)
    of_cost: ClassVar[bool] = False

    def build_sum(self, table: ReplayTable, bound: Bound) -> SampleSum:
        flags = _require(table.correct, bound, NEEDS_LABELS)
        least = int(table.backbone_right.sum()) - bound.limit / 100 * len(table)
        return SampleSum(None, -flags.astype(np.float32), limit=-least)

    def compute_p_values(
        self, test: ReplayTable, bound: Bound, leaves: Sequence[Indices], delta: float, seed: int
    ) -> Floats:
        right = _select_flags(_require(test.correct, bound, NEEDS_LABELS), leaves)
        lost = test.backbone_right[:, None].astype(np.float64) - right  # -1, 0 or 1; moved to 0, 0.5 or 1
        return compute_betting_p_value((1 + lost) / 2, (1 + bound.limit / 100) / 2, delta)

    def get_value(self, bound: Bound, performance: Performance, table: ReplayTable) -> float:
        assert performance.accuracy is not None
        return 100 * (float(table.backbone_right.mean()) - performance.accuracy)

    def compute_half_width(self, bound: Bound, sample: ExitSample, timing: float) -> float:
        return sample.drop_error()

    def convert_average(self, table: ReplayTable, bound: Bound, average: float) -> float:
        return 100 * (float(table.backbone_right.mean()) + average)

    def tighten_sum(self, limited: SampleSum, bound: Bound, samples: int, tightness: float) -> float:
        return limited.limit - samples * 4 * tightness * max(bound.limit, 0.5) / 100

    def count_needed_samples(self, bound: Bound, delta: float) -> int:
        if bound.limit <= 0:
            return super().count_needed_samples(bound, delta)
        return math.ceil(math.log(1 / delta) / math.log1p(bound.limit / 200))  # each bet at most all of one sample

    def can_decide(self, limit: float, half: float) -> bool:
        return not 0 < limit < half

    def compute_allowed_loss(self, bound: Bound) -> float | None:
        return bound.limit / 100

    def scale_allowed_loss(self, bound: Bound, share: float) -> Bound:
        return replace(bound, limit=share * bound.limit)

    def format_value(self, value: float) -> str:
        return f"{value:.2f} points"


def _require(flags: Bools | None, bound: Bound, unknown: str) -> Bools:
    if flags is None:
        raise InputError(unknown.format(bound=bound))
    return flags


def _select_flags(flags: Bools, leaves: Sequence[Indices]) -> Bools:
    """Whether the flag of each sample is set where it leaves, [M, policies]."""
    everyone = np.arange(len(flags))
    return np.stack([flags[everyone, at] for at in leaves], axis=1)
