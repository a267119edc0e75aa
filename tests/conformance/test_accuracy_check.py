"""The conformance check of accuracy: a fixed number of labels may differ, and not one more."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from edgeexit.backends import Settings
from edgeexit.bundle import Bundle
from edgeexit.conformance.checks import ConformanceCase, ReferenceOutputs, check_accuracy
from edgeexit.runtime import Prediction, Runner

COUNT = 200


class Answers:
    """A runner that leaves at exit 2 with the labels given."""

    def __init__(self, labels: list[int]) -> None:
        self.inner_thresholds: tuple[float, ...] = ()
        self._labels = iter(labels)

    def __call__(self, _x: Any) -> Prediction:
        return Prediction(next(self._labels), 2, 0.0, np.zeros(2, np.float32), False)


def judged(bundle: Bundle, precision: str, right: int, right_of_reference: int) -> bool | None:
    """The outcome where this number of 200 labels is right; the reference answers class 0 for every input."""
    case = ConformanceCase(
        bundle,
        Settings(precision=precision),
        {"x": np.zeros((COUNT, 1), np.float32)},
        ReferenceOutputs(
            np.zeros((COUNT, bundle.manifest.exits, 2), np.float32),
            np.zeros((COUNT, 2), np.float32),
            np.zeros((COUNT, 2), np.float32),
        ),
        np.where(np.arange(COUNT) < right_of_reference, 0, 1),
    )
    labels = [int(label) for label in case.labels] if case.labels is not None else []
    wrong = [1 - label for label in labels]
    answers = Answers([*labels[:right], *wrong[right:]])
    return check_accuracy(case, cast("Runner", answers)).passed


@pytest.mark.parametrize(("precision", "allowed"), [("float32", 1), ("float16", 2), ("int8", 6)])
def test_exactly_the_allowed_difference_passes(bundles: dict[str, Bundle], precision: str, allowed: int) -> None:
    """Whatever the share of right ones: 197 and 196 of 200 are one apart, and as floats a little more than 0.5 points."""
    bundle = bundles["skips"]
    least, end = allowed + 1, COUNT - allowed
    for right in (*range(least, end - 5, 9), *range(end - 5, end)):
        for sign in (-1, 1):
            assert judged(bundle, precision, right + sign * allowed, right) is True, right
            assert judged(bundle, precision, right + sign * (allowed + 1), right) is False, right
