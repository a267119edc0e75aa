"""FASTER, SLOWER, SAME, AMBIGUOUS or INVALID: what two sets of measurements allow to say about each other.

    ratio = candidate / reference

    SLOWER     the interval lies above 1 and the ratio is at least 1 % above it
    FASTER     the interval lies below 1 and the ratio is at least 1 % below it
    SAME       the interval lies within 3 % of 1, or the difference is proven and under 1 %
    AMBIGUOUS  anything else: measure longer, or in more processes
    INVALID    one of the measurements cannot be believed

The verdict is by the *typical* latency (the exits' medians, weighted by their shares), which a stalled sample cannot move; the
ratio of the means is reported beside it, and where the two contradict each other the verdict is AMBIGUOUS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgeexit.measure.statistics import Interval, ratio_interval
from edgeexit.util import units

Verdict: TypeAlias = Literal["FASTER", "SLOWER", "SAME", "AMBIGUOUS", "INVALID"]

NOISE = 0.01
"""A smaller difference than this is called SAME even where it is proven."""
SAME_WITHIN = 0.03
"""Largest distance of the interval's ends from 1 for SAME."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of two figures, candidate over reference; the interval is None with fewer than two processes on a side."""

    value: float
    ci95: Interval | None


@dataclass(frozen=True)
class Comparison:
    """Comparison of a candidate with a reference.

    Attributes:
        verdict: one of `Verdict`; see the module.
        typical: ratio of the typical latencies, by which the verdict goes.
        mean: ratio of the means.
        paired: whether both were measured interleaved in the same processes.
        reasons: why the verdict is not plainer; empty for FASTER, SLOWER and SAME.
    """

    verdict: str
    typical: Ratio
    mean: Ratio
    paired: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Processes:
    """One side of a comparison: the figures of each process, seconds."""

    typical_s: Sequence[float]
    mean_s: Sequence[float]


def judge_ratio(ratio: float, interval: Interval | None) -> Verdict:
    """The verdict that one ratio with its interval allows."""
    if interval is None:
        return "AMBIGUOUS"
    if interval.low > 1.0:
        return "SLOWER" if ratio >= 1.0 + NOISE else "SAME"
    if interval.high < 1.0:
        return "FASTER" if ratio <= 1.0 - NOISE else "SAME"
    near = interval.low >= 1.0 - SAME_WITHIN and interval.high <= 1.0 + SAME_WITHIN
    return "SAME" if near else "AMBIGUOUS"


def compare_processes(
    reference: Processes, candidate: Processes, *, paired: bool, invalid: Sequence[str] = ()
) -> Comparison:
    """Compare two sides by their processes.

    Args:
        reference: the side that ratios are relative to.
        candidate: the side in question.
        paired: whether process i of both is the same process, in which they were interleaved.
        invalid: reasons for which one of the sides cannot be believed; any makes the verdict INVALID.
    """
    typical = Ratio(*ratio_interval(reference.typical_s, candidate.typical_s, paired=paired))
    mean = Ratio(*ratio_interval(reference.mean_s, candidate.mean_s, paired=paired))
    verdict, reasons = ("INVALID", tuple(invalid)) if invalid else _judge_ratios(typical, mean)
    return Comparison(verdict, typical, mean, paired, reasons)


def _judge_ratios(typical: Ratio, mean: Ratio) -> tuple[str, tuple[str, ...]]:
    verdict, by_mean = judge_ratio(typical.value, typical.ci95), judge_ratio(mean.value, mean.ci95)
    if typical.ci95 is None:
        return verdict, ("one process has no spread: measure in several",)
    if {verdict, by_mean} == {"FASTER", "SLOWER"}:
        reason = f"the typical latency is {verdict} and the mean is {by_mean}: the tails differ"
        return "AMBIGUOUS", (reason,)
    if verdict == "AMBIGUOUS":
        low, high = (units.fixed(end, 3) for end in (typical.ci95.low, typical.ci95.high))
        wide = f"the interval {low} to {high} holds both sides of 1: measure longer"
        return verdict, (wide,)
    return verdict, ()
