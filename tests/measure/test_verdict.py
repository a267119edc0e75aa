"""FASTER, SLOWER, SAME, AMBIGUOUS, INVALID."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.measure.statistics import Interval
from edgeexit.measure.verdict import Processes, compare_processes, judge_ratio


@pytest.mark.parametrize(
    ("ratio", "low", "high", "expected"),
    [
        (1.05, 1.03, 1.07, "SLOWER"),
        (0.95, 0.93, 0.97, "FASTER"),
        (1.00, 0.98, 1.02, "SAME"),
        (1.005, 1.001, 1.009, "SAME"),
        (1.02, 0.98, 1.06, "AMBIGUOUS"),
    ],
)
def test_the_interval_decides(ratio: float, low: float, high: float, expected: str) -> None:
    """Beyond 1 on one side and by 1 % at least; near 1 on both sides; else undecided."""
    assert expected == judge_ratio(ratio, Interval(low, high))


def test_one_process_decides_nothing() -> None:
    """No spread, no verdict."""
    compared = compare_processes(Processes([1.0], [1.0]), Processes([3.0], [3.0]), paired=True)
    assert "AMBIGUOUS" == compared.verdict
    assert "one process" in compared.reasons[0]


def test_tails_that_contradict_the_medians_are_ambiguous() -> None:
    """Faster in the median and slower in the mean is no answer."""
    reference = Processes([1.0, 1.01, 0.99], [1.0, 1.01, 0.99])
    candidate = Processes([0.8, 0.81, 0.79], [1.3, 1.31, 1.29])
    compared = compare_processes(reference, candidate, paired=False)
    assert "AMBIGUOUS" == compared.verdict
    assert "tails differ" in compared.reasons[0]


def test_an_invalid_side_is_never_compared() -> None:
    """Whatever the ratio, with the reason."""
    side = Processes([1.0, 1.0], [1.0, 1.0])
    compared = compare_processes(side, side, paired=True, invalid=["clocks were lowered"])
    assert "INVALID" == compared.verdict
    assert ("clocks were lowered",) == compared.reasons


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_verdicts_are_right_as_often_as_promised(paired: bool) -> None:
    """Simulated: the same thing is called different in at most 15 % of runs, a 5 % slow-down is called in 85 % at least."""
    rng, wrong, found = np.random.default_rng(19), 0, 0
    for _ in range(400):
        processes = rng.normal(1.0, 0.01, size=(3, 5))
        one, two, slow = (Processes(p, p) for p in (processes[0], processes[1], 1.05 * processes[2]))
        wrong += compare_processes(one, two, paired=paired).verdict in {"FASTER", "SLOWER"}
        found += compare_processes(one, slow, paired=paired).verdict == "SLOWER"
    assert wrong / 400 <= 0.15
    assert found / 400 >= 0.85
