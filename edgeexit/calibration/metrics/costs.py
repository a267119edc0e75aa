"""Metrics of what an inference costs: means, tails of the latency, and how many leave where."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeexit.calibration.bounds import (
    compute_mean_p_values,
    compute_share_at_least_p_value,
    compute_share_at_most_p_value,
    count_samples_for_share,
    draw_exceedances,
)
from edgeexit.calibration.metrics.base import AtLeastShare, Metric, Performance, PictureAxis
from edgeexit.calibration.outcome import compute_mean_cost
from edgeexit.calibration.replay import Floats, Indices, ReplayTable
from edgeexit.calibration.sums import SampleSum
from edgeexit.calibration.uncertainty import FLOOR, ExitSample, RunTimes
from edgeexit.errors import InputError
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.calibration.targets import Bound


@dataclass(frozen=True)
class MeanCost(Metric):
    """The mean of a cost that depends on the exit alone.

    Attributes:
        per_exit: the cost of leaving at each exit, [N]; None where a table does not know it.
        unknown: what to say then.
        floor: relative half width that no number of samples takes away.
        shown: a value as text.
    """

    per_exit: Callable[[ReplayTable], Floats | None] = lambda table: table.mean_cost_s
    unknown: str = ""
    floor: float = 0.0
    shown: Callable[[float], str] = units.format_number

    def get_costs(self, table: ReplayTable) -> Floats:
        """The cost of each exit, [N]."""
        costs = self.per_exit(table)
        if costs is None:
            raise InputError(self.unknown)
        return costs

    def build_sum(self, table: ReplayTable, bound: Bound) -> SampleSum:
        return SampleSum(self.get_costs(table), limit=len(table) * self.resolve_limit(table, bound))

    def compute_p_values(
        self, test: ReplayTable, bound: Bound, leaves: Sequence[Indices], delta: float, seed: int
    ) -> Floats:
        return compute_mean_p_values(self.get_costs(test), self.build_sum(test, bound).limit / len(test), leaves, delta)

    def get_value(self, bound: Bound, performance: Performance, table: ReplayTable) -> float:
        return compute_mean_cost(performance.exit_rates, self.get_costs(table))

    def compute_half_width(self, bound: Bound, sample: ExitSample, timing: float) -> float:
        costs = self.get_costs(sample.table)
        return self.floor * sample.mean(costs) + sample.mean_error(costs)

    def format_value(self, value: float) -> str:
        return self.shown(value)


class MeanLatency(MeanCost):
    """The mean latency; its limit may be a multiple of the backbone's."""

    of_time: ClassVar[bool] = True
    relative: ClassVar[bool] = True
    axis: ClassVar[PictureAxis] = "latency"

    def resolve_limit(self, table: ReplayTable, bound: Bound) -> float:
        return bound.limit * table.backbone_mean_s if bound.relative else bound.limit

    def convert_average(self, table: ReplayTable, bound: Bound, average: float) -> float:
        return average / table.backbone_mean_s if bound.relative else average

    def tighten_bound(self, bound: Bound, sample: ExitSample, room: float, fewer: float, bias: float) -> Bound | None:
        share = FLOOR + fewer * (room / sample.mean(self.get_costs(sample.table)) - FLOOR) + max(0.0, bias)
        return replace(bound, limit=bound.limit / (1 + share))

    def get_value(self, bound: Bound, performance: Performance, table: ReplayTable) -> float:
        return performance.mean_s

    def compute_half_width(self, bound: Bound, sample: ExitSample, timing: float) -> float:
        costs = self.get_costs(sample.table)
        mean = sample.mean(costs)
        return mean * (self.floor + math.hypot(timing, sample.mean_error(costs) / mean))

    def compute_run_range(self, bound: Bound, sample: ExitSample, timing: float, run: RunTimes) -> tuple[float, float]:
        # What mixing exits does to each is in the run only; the luck of the draw is less in all samples.
        mean_s = sample.table.evaluate_leaves(sample.leaves).mean_s * run.mixing
        return self.compute_predicted_range(bound, mean_s, sample.table, sample, timing)


class LatencyTail(Metric):
    """A percentile of the latency, as a bound on the share of inferences that take longer than the limit."""

    of_time: ClassVar[bool] = True
    possible: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @property
    def share(self) -> float:
        """The share of inferences that may take longer than the limit."""
        assert self.tail is not None
        return self.tail

    def build_sum(self, table: ReplayTable, bound: Bound) -> SampleSum:
        return SampleSum(table.compute_share_over(bound.limit), limit=len(table) * self.share)

    def compute_p_values(
        self, test: ReplayTable, bound: Bound, leaves: Sequence[Indices], delta: float, seed: int
    ) -> Floats:
        over, everyone = draw_exceedances(test, bound.limit, seed), np.arange(len(test))
        events = np.array([np.count_nonzero(over[at, everyone]) for at in leaves])
        return compute_share_at_least_p_value(events, len(test), self.share)

    def get_value(self, bound: Bound, performance: Performance, table: ReplayTable) -> float:
        return float(np.dot(performance.exit_rates, table.compute_share_over(bound.limit)))

    def compute_half_width(self, bound: Bound, sample: ExitSample, timing: float) -> float:
        return FLOOR + timing

    def resolve_limit(self, table: ReplayTable, bound: Bound) -> float:
        return self.share

    def tighten_sum(self, limited: SampleSum, bound: Bound, samples: int, tightness: float) -> float:
        return limited.limit * max(0.0, 1 - 4 * tightness)

    def tighten_bound(self, bound: Bound, sample: ExitSample, room: float, fewer: float, bias: float) -> Bound | None:
        return replace(bound, limit=bound.limit / (1 + room))

    def count_needed_samples(self, bound: Bound, delta: float) -> int:
        return count_samples_for_share(self.share, delta)

    def measure(self, bound: Bound, performance: Performance, table: ReplayTable, latency_s: Floats) -> float:
        return float((latency_s > bound.limit).mean())

    def compute_predicted_range(
        self, bound: Bound, value: float, table: ReplayTable, sample: ExitSample, timing: float
    ) -> tuple[float, float]:
        error = sample.mean_error(table.compute_share_over(bound.limit))
        off = self.compute_half_width(bound, sample, timing)
        return _bracket_share(lambda at: float(sample.rates @ table.compute_share_over(at)), bound.limit, off, error)

    def compute_run_range(self, bound: Bound, sample: ExitSample, timing: float, run: RunTimes) -> tuple[float, float]:
        """Rounds differ, inputs differ, and every latency may be off by the half width."""
        limit, off = bound.limit, self.compute_half_width(bound, sample, timing)
        over = run.latency_s > limit
        shares = np.bincount(run.rounds, weights=over) / np.bincount(run.rounds)
        between = float(shares.var(ddof=1)) / len(shares) if len(shares) > 1 else 0.25
        chance = sample.z * math.sqrt(between + (sample.z / len(over)) ** 2 / 2)
        drawn = sample.mean_error(np.array([(cost > limit).mean() for cost in run.exit_cost_s]))
        return _bracket_share(lambda at: float((run.latency_s > at).mean()), limit, off, math.hypot(chance, drawn))

    def format_value(self, value: float) -> str:
        return f"{units.percent(value)} above"


def _bracket_share(
    share_over: Callable[[float], float], limit: float, relative: float, error: float
) -> tuple[float, float]:
    """The interval of a share over a limit: times off by `relative` either way, and `error` of chance."""
    return share_over(limit * (1 + relative)) - error, share_over(limit / (1 + relative)) + error


class ExitRate(AtLeastShare):
    """The share that leaves at an exit."""

    numbered: ClassVar[bool] = True

    def build_sum(self, table: ReplayTable, bound: Bound) -> SampleSum:
        if _get_exit(bound) >= table.exits:
            msg = f"{bound}: this network has {units.format_count(table.exits, 'exit')}."
            raise InputError(msg)
        chosen = np.zeros(table.exits)
        chosen[_get_exit(bound)] = -1.0
        return SampleSum(chosen, limit=-len(table) * bound.limit)

    def compute_p_values(
        self, test: ReplayTable, bound: Bound, leaves: Sequence[Indices], delta: float, seed: int
    ) -> Floats:
        events = np.array([np.count_nonzero(at == _get_exit(bound)) for at in leaves])
        return compute_share_at_most_p_value(events, len(test), bound.limit)

    def get_value(self, bound: Bound, performance: Performance, table: ReplayTable) -> float:
        return performance.exit_rates[_get_exit(bound)]

    def compute_half_width(self, bound: Bound, sample: ExitSample, timing: float) -> float:
        return sample.share_error(float(sample.rates[_get_exit(bound)]))


class OffloadedShare(Metric):
    """The share that leaves at no exit of this machine, so that it goes up to the remote stages."""

    high: ClassVar[float] = 1.0
    possible: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def build_sum(self, table: ReplayTable, bound: Bound) -> SampleSum:
        return SampleSum(self._mark_remote(table, bound), limit=len(table) * bound.limit)

    def compute_p_values(
        self, test: ReplayTable, bound: Bound, leaves: Sequence[Indices], delta: float, seed: int
    ) -> Floats:
        remote = self._mark_remote(test, bound)
        events = np.array([np.count_nonzero(remote[at]) for at in leaves])
        return compute_share_at_least_p_value(events, len(test), bound.limit)

    def get_value(self, bound: Bound, performance: Performance, table: ReplayTable) -> float:
        return float(np.dot(performance.exit_rates, self._mark_remote(table, bound)))

    def compute_half_width(self, bound: Bound, sample: ExitSample, timing: float) -> float:
        return sample.share_error(float(sample.rates @ self._mark_remote(sample.table, bound)))

    def tighten_sum(self, limited: SampleSum, bound: Bound, samples: int, tightness: float) -> float:
        return limited.limit * max(0.0, 1 - 4 * tightness)

    def count_needed_samples(self, bound: Bound, delta: float) -> int:
        return count_samples_for_share(bound.limit, delta) if bound.limit < 1 else 1

    def _mark_remote(self, table: ReplayTable, bound: Bound) -> Floats:
        """1 for each exit that another machine runs, else 0; [N]."""
        if table.remote_from is None:
            msg = f"{bound}: all stages run on this machine; say which do not, as in --remote {table.exits}=URL (load(remote=...))."
            raise InputError(msg)
        return (np.arange(1, table.exits + 1) >= table.remote_from).astype(np.float64)


def _get_exit(bound: Bound) -> int:
    """The exit of a numbered bound, from 0."""
    assert bound.exit is not None
    return bound.exit - 1
