"""Whether the device confirms what was chosen: every bound of a target as an interval for data never seen, and the three statements.

    met          the whole interval lies on the right side of the limit
    not met      the whole interval lies on the wrong side
    undecided    it lies on both; or the room for noise is larger than the bound itself; or times were taken on a noisy machine

Means are those of the run, taken from the validation part to all samples by who leaves where.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeexit.calibration.decision import (
    CONFIRMED,
    MET,
    NOISE_LIMIT,
    NOISY,
    NOT_MET,
    NOT_RUN,
    OFF,
    QUIET,
    UNDECIDED,
    CalibrationVerdict,
    combine_bound_states,
)
from edgeexit.calibration.device import MeasuredCosts, PolicyTiming, compute_change
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.result import BoundCheck, PolicyPerformance
from edgeexit.calibration.solver.problem import resolve_limit_s
from edgeexit.calibration.targets import Bound, Target
from edgeexit.calibration.uncertainty import ExitSample, compute_half_width
from edgeexit.hardware import DeviceState, count_foreign_cores, judge
from edgeexit.measure.shares import share_interval
from edgeexit.measure.statistics import Interval
from edgeexit.util import units

TRACKING = 0.02
NOISE_FACTOR = 1.25
_FOREIGN = 0.25
"""Cores used by others that can slow this process down, where no core is free for them."""
_STOLEN = 0.05


@dataclass(frozen=True, eq=False)
class PolicyRun:
    """The chosen policy at work.

    Attributes:
        figures: of the validation part, which the device ran. validation: its table.
        whole: all samples under the policy.
        trial: times and answers of the run.
        reasons: why the machine was too noisy to decide anything about time; empty on a quiet one.
        proved: whether a certificate holds for the bounds on answers and shares.
    """

    figures: PolicyPerformance
    validation: ReplayTable
    whole: ExitSample
    trial: PolicyTiming
    reasons: tuple[str, ...]
    proved: bool

    @property
    def noisy(self) -> bool:
        """Whether nothing about time can be decided."""
        return bool(self.reasons)

    @property
    def bias(self) -> float:
        """What the policy's mean is above that of its exits run alone, relative: mixing them costs caches and branch predictions."""
        return self.figures.mean_s / self.validation.evaluate_leaves(self.trial.leaves).mean_s - 1


def compute_tolerance(noise_floor: float, sampling_error: float) -> float:
    """How far measured may be from predicted, relative: the larger of 2 %, 1.25 noise floors, and the sampling error of both parts."""
    return max(TRACKING, NOISE_FACTOR * noise_floor, sampling_error)


def compute_accuracy_interval(measured: PolicyPerformance) -> Interval | None:
    """95 % interval of the measured accuracy; None without labels."""
    return None if measured.accuracy is None else share_interval(measured.accuracy, measured.samples)


def explain_noise(
    trial: PolicyTiming, before: MeasuredCosts, states: tuple[DeviceState, DeviceState], threads: int
) -> tuple[str, ...]:
    """Why times measured between two states of the machine cannot be decided on; empty on a quiet machine.

    Args:
        trial: the run.
        before: of the exits, from the timing before it.
        states: of the machine, before and after the run.
        threads: that the run used.
    """
    return tuple(_list_noise_reasons(trial, before, states, threads))


def _list_noise_reasons(
    trial: PolicyTiming, before: MeasuredCosts, states: tuple[DeviceState, DeviceState], threads: int
) -> Iterator[str]:
    validity = judge(*states)
    if trial.noise > NOISE_LIMIT:
        yield "measured again and again, the same thing differs by more than that limit"
    yield from _list_busy_reasons(states, threads)
    if validity.status == "invalid":
        yield from validity.reasons
    yield from _list_falling_reasons(trial.costs)
    yield from explain_changed_times(before, trial.costs)


def explain_changed_times(before: MeasuredCosts, after: MeasuredCosts) -> Iterator[str]:
    """Times that another timing shortly after does not repeat."""
    changed = compute_change(before, after)
    if changed > NOISE_LIMIT:
        yield f"times changed by {units.percent(changed, 1)} from one measurement to the next"


def explain_noisy_costs(costs: MeasuredCosts, states: tuple[DeviceState, DeviceState], threads: int) -> tuple[str, ...]:
    """The same of the timing of the exits, before any policy has run."""
    drift = ("times drifted by more than that limit",) if costs.noise > NOISE_LIMIT else ()
    return (*drift, *_list_busy_reasons(states, threads), *_list_falling_reasons(costs))


def _list_falling_reasons(costs: MeasuredCosts) -> Iterator[str]:
    for k in costs.falling:
        yield f"leaving at exit {k} was measured as faster than at exit {k - 1}, whose work it contains"


def _list_busy_reasons(states: tuple[DeviceState, DeviceState], threads: int) -> Iterator[str]:
    """Other work that leaves no core free: logical cores are often two to a physical one, so half of them count."""
    before, after = states
    foreign, cores = count_foreign_cores(before, after), after.cores_online or 1
    if foreign is not None and foreign > _FOREIGN and foreign + threads > max(1, cores / 2):
        yield f"other processes used {foreign:.1f} of {cores} cores"
    elapsed_s = after.monotonic_s - before.monotonic_s
    stolen_s = (after.steal_cpu_s or 0.0) - (before.steal_cpu_s or 0.0)
    if elapsed_s > 0 and stolen_s / elapsed_s / cores > _STOLEN:
        yield f"the hypervisor took {stolen_s / elapsed_s / cores:.0%} of the CPU time for others"


def check_bounds(
    table: ReplayTable, target: Target, predicted: PolicyPerformance, run: PolicyRun
) -> tuple[BoundCheck, ...]:
    """Every bound held against the run on the device."""
    return tuple(_check_run(table, bound, predicted, run) for bound in target.bounds)


def check_predicted_bounds(
    table: ReplayTable, target: Target, predicted: PolicyPerformance, whole: ExitSample, timing: float | None
) -> tuple[BoundCheck, ...]:
    """Every bound held against the prediction alone; `timing` is the relative error of the times in the table, None on a noisy machine."""
    return tuple(_check_predicted(table, bound, predicted, whole, timing) for bound in target.bounds)


def _check_predicted(
    table: ReplayTable, bound: Bound, predicted: PolicyPerformance, whole: ExitSample, timing: float | None
) -> BoundCheck:
    foreseen = _compute_predicted_value(bound, predicted, table)
    half = compute_half_width(bound, whole, timing or 0.0)
    ends = foreseen - half, foreseen + half
    if bound.of.tail is not None:
        error = whole.mean_error(table.compute_share_over(bound.limit))
        ends = _compute_tail_range(
            lambda at: float(whole.rates @ table.compute_share_over(at)), bound.limit, half, error
        )
    values = _resolve_limit(table, bound), foreseen, None
    return _make_check(bound, values, ends, decidable=timing is not None or not is_machine_dependent(bound))


def _check_run(table: ReplayTable, bound: Bound, predicted: PolicyPerformance, run: PolicyRun) -> BoundCheck:
    value = _read_value(bound, run.figures, run.validation)
    if bound.of.tail is not None:
        value = float((run.trial.latency_s > bound.limit).mean())
    values = _resolve_limit(run.validation, bound), _compute_predicted_value(bound, predicted, table), value
    check = _make_check(
        bound, values, _compute_range(bound, run), decidable=not (run.noisy and is_machine_dependent(bound))
    )
    return replace(check, met=True, state=MET) if run.proved and not is_machine_dependent(bound) else check


def _make_check(
    bound: Bound, values: tuple[float, float, float | None], ends: tuple[float, float], *, decidable: bool
) -> BoundCheck:
    (limit, foreseen, value), (low, high) = values, _clip_to_possible(bound, ends)
    state = _state(bound, limit, low, high) if decidable else UNDECIDED
    room = (high - low) / 2
    return BoundCheck(str(bound), limit, foreseen, value, room, met=state == MET, state=state, low=low, high=high)


def _clip_to_possible(bound: Bound, ends: tuple[float, float]) -> tuple[float, float]:
    """The part of an interval that the quantity can lie in."""
    least = -100.0 if bound.metric == "drop" else 0.0
    most = 1.0 if bound.metric in ("accuracy", "agreement", "rate") or bound.of.tail is not None else math.inf
    return max(least, ends[0]), min(most, ends[1])


def is_machine_dependent(bound: Bound) -> bool:
    """Whether a bound is on what a busy machine changes: time, and the energy that everything on the machine draws."""
    return bound.metric in ("mean", "energy") or bound.of.tail is not None


def _state(bound: Bound, limit: float, low: float, high: float) -> str:
    if bound.metric == "drop" and 0 < limit < (high - low) / 2:
        return UNDECIDED
    if bound.of.sign == "<=":
        return MET if high <= limit else NOT_MET if low > limit else UNDECIDED
    return MET if low >= limit else NOT_MET if high < limit else UNDECIDED


def _resolve_limit(table: ReplayTable, bound: Bound) -> float:
    if bound.metric == "mean":
        return resolve_limit_s(table, bound)
    return bound.limit if bound.of.tail is None else bound.of.tail


def _compute_range(bound: Bound, run: PolicyRun) -> tuple[float, float]:
    """The interval of a bounded quantity for data never seen, after the run."""
    whole, trial = run.whole, run.trial
    timing = trial.ratio_error if bound.relative else trial.error
    half = compute_half_width(bound, whole, timing)
    if bound.of.tail is not None:
        return _compute_run_tail(bound.limit, run, half)
    middle = _estimate(bound, run)
    return middle - half, middle + half


def _estimate(bound: Bound, run: PolicyRun) -> float:
    whole, table = run.whole, run.whole.table
    outcome = table.evaluate_leaves(whole.leaves)
    if (
        bound.metric == "mean"
    ):  # what mixing exits does to each is in the run only, the luck of the draw is less in all samples
        return run.figures.mean_s * outcome.mean_s / run.validation.evaluate_leaves(run.trial.leaves).mean_s
    if bound.metric == "rate":
        assert bound.exit is not None
        return float(whole.rates[bound.exit - 1])
    if bound.metric == "drop":
        lost, gained = whole.lost_and_gained()
        return 100 * (lost - gained) / len(whole.leaves)
    value = {
        "energy": outcome.energy_j,
        "macs": outcome.macs,
        "accuracy": outcome.accuracy,
        "agreement": outcome.agreement,
    }[bound.metric]
    assert value is not None
    return value


def _compute_run_tail(limit: float, run: PolicyRun, relative: float) -> tuple[float, float]:
    """Of the share of inferences over a limit: rounds differ, inputs differ, and every latency may be off by `relative`."""
    trial, z = run.trial, run.whole.z
    over = trial.latency_s > limit
    shares = np.bincount(trial.blocks, weights=over) / np.bincount(trial.blocks)
    between = float(shares.var(ddof=1)) / len(shares) if len(shares) > 1 else 0.25
    chance = z * math.sqrt(between + (z / len(over)) ** 2 / 2)
    drawn = run.whole.mean_error(np.array([(cost > limit).mean() for cost in trial.costs.cost_s]))
    return _compute_tail_range(
        lambda at: float((trial.latency_s > at).mean()), limit, relative, math.hypot(chance, drawn)
    )


def _compute_tail_range(
    share_over: Callable[[float], float], limit: float, relative: float, error: float
) -> tuple[float, float]:
    return share_over(limit * (1 + relative)) - error, share_over(limit / (1 + relative)) + error


def _compute_predicted_value(bound: Bound, predicted: PolicyPerformance, table: ReplayTable) -> float:
    if bound.of.tail is not None:
        return float(np.dot(predicted.exit_rates, table.compute_share_over(bound.limit)))
    return _read_value(bound, predicted, table)


def _read_value(bound: Bound, figures: PolicyPerformance, table: ReplayTable) -> float:
    if bound.metric == "rate":
        assert bound.exit is not None
        return figures.exit_rates[bound.exit - 1]
    if bound.metric == "drop":
        assert figures.accuracy is not None
        return 100 * (float(table.backbone_right.mean()) - figures.accuracy)
    names = {"mean": figures.mean_s, "energy": figures.energy_j, "macs": figures.macs, "accuracy": figures.accuracy}
    value = {**names, "agreement": figures.agreement}.get(bound.metric, 0.0)
    assert value is not None
    return value


def judge_run(
    target: Target, checks: Sequence[BoundCheck], run: PolicyRun, predicted: PolicyPerformance, tolerance: float
) -> CalibrationVerdict:
    """The three statements after a run on the device."""
    off_by = run.figures.mean_s / predicted.mean_s - 1
    prediction = UNDECIDED if run.noisy else OFF if off_by > tolerance else CONFIRMED
    undecided, missed = (tuple(c.bound for c in checks if c.state == state) for state in (UNDECIDED, NOT_MET))
    return CalibrationVerdict(
        bounds=combine_bound_states(c.state for c in checks),
        prediction=prediction,
        off_by=off_by,
        machine=NOISY if run.noisy else QUIET,
        noise=run.trial.noise,
        reasons=run.reasons,
        undecided=undecided,
        missed=missed,
        advice=tuple(_advise(target, set(undecided), run)),
    )


def judge_infeasible(checks: Sequence[BoundCheck], noise: float, reasons: tuple[str, ...]) -> CalibrationVerdict:
    """The statements where no thresholds meet the target."""
    missed = tuple(c.bound for c in checks if c.state != MET)
    return CalibrationVerdict(
        NOT_MET, machine=NOISY if reasons else QUIET, noise=noise, reasons=reasons, missed=missed, advice=(_ANOTHER,)
    )


_ANOTHER = "What was measured is kept: edgeexit calibrate --from-curve tries another target without measuring again."


def judge_prediction(checks: Sequence[BoundCheck], measurement: CalibrationVerdict) -> CalibrationVerdict:
    """The statements where nothing was run: the bounds as the replay table predicts them, on the machine that measured its times."""
    undecided, missed = (tuple(c.bound for c in checks if c.state == state) for state in (UNDECIDED, NOT_MET))
    return replace(
        measurement,
        bounds=combine_bound_states(c.state for c in checks),
        prediction=NOT_RUN,
        off_by=None,
        undecided=undecided,
        missed=missed,
        advice=(_MEASURE,) if undecided or missed else (),
    )


_MEASURE = "Run edgeexit calibrate with --data to measure these thresholds on the device."


def _advise(target: Target, undecided: set[str], run: PolicyRun) -> Iterator[str]:
    open_bounds = [bound for bound in target.bounds if str(bound) in undecided]
    if run.noisy:
        yield "Stop other work on this machine and calibrate again: nothing about time can be decided while it is noisy."
    elif any(is_machine_dependent(bound) for bound in open_bounds):
        yield "Measure longer (--seconds), or give more samples: the interval of a time lies on both sides of its limit."
    if any(not is_machine_dependent(bound) for bound in open_bounds):
        n = len(run.whole.leaves)
        yield f"Give more samples ({n} leave too much room for chance), or a looser bound."
