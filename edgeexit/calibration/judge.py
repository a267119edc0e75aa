"""Whether the device confirms what was chosen: every bound of a target as an interval for data never seen, and the three statements.

    met          the whole interval lies on the right side of the limit
    not met      the whole interval lies on the wrong side
    undecided    it lies on both; or the room for noise is larger than the bound itself; or times were taken on a noisy machine

Means are those of the run, taken from the validation part to all samples by who leaves where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
from edgeexit.calibration.targets import Bound, Target
from edgeexit.calibration.uncertainty import ExitSample, RunTimes
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
        figures: figures of the validation part, which the device ran. validation: its table.
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
        """Relative excess of the policy's mean over that of its exits run alone: mixing them costs caches and branch predictions."""
        return self.times.mixing - 1

    @property
    def times(self) -> RunTimes:
        """Timing data that the metrics of a target need."""
        mixing = self.figures.mean_s / self.validation.evaluate_leaves(self.trial.leaves).mean_s
        return RunTimes(self.trial.latency_s, self.trial.blocks, self.trial.costs.cost_s, mixing)


def compute_tolerance(noise_floor: float, sampling_error: float) -> float:
    """Relative tolerance of measured against predicted: the largest of 2 %, 1.25 noise floors, and the sampling error of both parts."""
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
        before: latencies of the exits from the timing before the run.
        states: states of the machine, before and after the run.
        threads: number of threads that the run used.
    """
    return tuple(_list_noise_reasons(trial, before, states, threads))


def _list_noise_reasons(
    trial: PolicyTiming, before: MeasuredCosts, states: tuple[DeviceState, DeviceState], threads: int
) -> Iterator[str]:
    validity = judge(*states)
    if trial.noise > NOISE_LIMIT:
        yield "repeated measurements of the same thing differ by more than that limit"
    yield from list_busy_reasons(states, threads)
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
    return (*drift, *list_busy_reasons(states, threads), *_list_falling_reasons(costs))


def _list_falling_reasons(costs: MeasuredCosts) -> Iterator[str]:
    for k in costs.falling:
        yield f"leaving at exit {k} was measured as faster than at exit {k - 1}, whose work it contains"


def list_busy_reasons(states: tuple[DeviceState, DeviceState], threads: int) -> Iterator[str]:
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
    kind = bound.kind
    foreseen = kind.get_value(bound, predicted, table)
    ends = kind.compute_predicted_range(bound, foreseen, table, whole, timing or 0.0)
    values = kind.resolve_limit(table, bound), foreseen, None
    return _make_check(bound, values, ends, decidable=timing is not None or not kind.machine_dependent)


def _check_run(table: ReplayTable, bound: Bound, predicted: PolicyPerformance, run: PolicyRun) -> BoundCheck:
    kind, trial = bound.kind, run.trial
    value = kind.measure(bound, run.figures, run.validation, trial.latency_s)
    values = kind.resolve_limit(run.validation, bound), kind.get_value(bound, predicted, table), value
    ends = kind.compute_run_range(bound, run.whole, trial.ratio_error if bound.relative else trial.error, run.times)
    check = _make_check(bound, values, ends, decidable=not (run.noisy and kind.machine_dependent))
    return replace(check, met=True, state=MET) if run.proved and not kind.machine_dependent else check


def _make_check(
    bound: Bound, values: tuple[float, float, float | None], ends: tuple[float, float], *, decidable: bool
) -> BoundCheck:
    limit, foreseen, value = values
    least, most = bound.kind.possible
    low, high = max(least, ends[0]), min(most, ends[1])
    state = _state(bound, limit, low, high) if decidable else UNDECIDED
    room = (high - low) / 2
    return BoundCheck(str(bound), limit, foreseen, value, room, met=state == MET, state=state, low=low, high=high)


def _state(bound: Bound, limit: float, low: float, high: float) -> str:
    if not bound.kind.can_decide(limit, (high - low) / 2):
        return UNDECIDED
    if bound.kind.sign == "<=":
        return MET if high <= limit else NOT_MET if low > limit else UNDECIDED
    return MET if low >= limit else NOT_MET if high < limit else UNDECIDED


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
    elif any(bound.kind.machine_dependent for bound in open_bounds):
        yield "Measure longer (--seconds), or give more samples: the interval of a time lies on both sides of its limit."
    if any(not bound.kind.machine_dependent for bound in open_bounds):
        n = len(run.whole.leaves)
        yield f"Give more samples ({n} leave too much room for chance), or a looser bound."
