"""From calibration data to a policy that has run on the device: split, replay, time, choose, run, and again if a bound stayed undecided.

Everything here measures or chooses; nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edgeexit.calibration.certify import Certificate, certify
from edgeexit.calibration.data_parts import ROUNDS, CalibrationData, CalibrationPlan
from edgeexit.calibration.device import (
    MeasuredCosts,
    PolicyTiming,
    time_exits,
    try_policy,
)
from edgeexit.calibration.judge import (
    PolicyRun,
    check_bounds,
    explain_changed_times,
    explain_noise,
    explain_noisy_costs,
)
from edgeexit.calibration.margins import TimingErrors, loosen_time_limits, tighten_target, tighten_time_limits
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.result import BoundCheck, PolicyPerformance
from edgeexit.calibration.solver.cross_validation import PolicyChoice, choose_policy_for
from edgeexit.calibration.solver.nearest_target import is_met
from edgeexit.calibration.solver.problem import Problem, build_problem
from edgeexit.calibration.solver.search import Effort, Policy
from edgeexit.calibration.solver.streamed import optimise_parts
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.calibration.uncertainty import ExitSample
from edgeexit.data import Dataset
from edgeexit.errors import InputError, TargetNotMet
from edgeexit.hardware import DeviceState, Validity, judge, read_device_state
from edgeexit.measure.energy.measurement import measure_runner_energy
from edgeexit.measure.energy.options import EnergyOptions
from edgeexit.measure.statistics import nearest_rank
from edgeexit.runtime import Runner
from edgeexit.util.progress import Progress
from edgeexit.util.samples import split_samples

EFFORT = Effort(work=10.0)
_EXITS_SHARE = 0.35
_LOOK_S = 0.5
"""Shortest time, seconds, over which the load of other processes can be measured; shorter runs use the load since the start."""


@dataclass(frozen=True, eq=False)
class ChosenPolicy:
    """A policy, how it was chosen and for which target (tightened by what noise and chance may take), and its proof."""

    policy: Policy
    choice: PolicyChoice
    certificate: Certificate | None
    wanted: Target


@dataclass(frozen=True, eq=False)
class CalibrationSession:
    """The choice, its run and the device's state.

    Attributes:
        split: the data split, with the costs of the run.
        chosen, run, checks: the policy, the run, and every bound held against it.
        predicted: performance of the policy, from the choose part and the costs of the run.
        states, validity: device state before and after the session, and whether it was sound.
    """

    split: CalibrationData
    chosen: ChosenPolicy
    run: PolicyRun
    checks: tuple[BoundCheck, ...]
    predicted: PolicyPerformance
    states: tuple[DeviceState, DeviceState]
    validity: Validity


class Infeasible(TargetNotMet):
    """Raised when nothing meets the target; carries the measurements made."""

    def __init__(
        self, refusal: TargetNotMet, split: CalibrationData, costs: MeasuredCosts, reasons: tuple[str, ...]
    ) -> None:
        super().__init__(str(refusal), refusal.nearest)
        self.split, self.costs, self.reasons = split, costs, reasons


def choose_and_run(runner: Runner, split: CalibrationData, plan: CalibrationPlan) -> CalibrationSession:
    """Time the exits, choose, run; where the run decided nothing about time, or missed, choose and run again with its costs.

    Raises:
        Infeasible: nothing meets the target, and not for want of a quiet machine.
    """
    before = read_device_state()
    costs = _time_exits(runner, split.data, plan)
    reasons = explain_noisy_costs(costs, (before, read_device_state()), runner.settings.threads)
    split = _add_energy(runner, split, plan)
    errors = TimingErrors(costs.error, costs.ratio_error)
    for turn in range(1, ROUNDS + 1):
        try:
            chosen = _choose(split.attach_costs(costs), plan, errors, noisy=bool(reasons))
        except TargetNotMet as refusal:
            if turn > 1 or reasons:
                raise Infeasible(refusal, split.attach_costs(costs), costs, reasons) from None
            costs, reasons, chosen = _choose_again(runner, split, plan, costs)
        runner.inner_thresholds = chosen.policy.thresholds
        session = _run(runner, split, chosen, plan, _InitialState(turn, before, costs))
        run = session.run
        if all(c.met for c, b in zip(session.checks, plan.target.bounds, strict=True) if b.kind.machine_dependent):
            break
        costs, reasons = run.trial.costs, run.reasons
        errors = TimingErrors(run.trial.error, run.trial.ratio_error, run.bias)
    after = read_device_state()
    return replace(session, states=(before, after), validity=judge(before, after))


@dataclass(frozen=True, eq=False)
class _InitialState:
    """The number of a run, the device state at its start, and the costs used to choose its policy."""

    turn: int
    started: DeviceState
    costs: MeasuredCosts


def _choose_again(
    runner: Runner, split: CalibrationData, plan: CalibrationPlan, before: MeasuredCosts
) -> tuple[MeasuredCosts, tuple[str, ...], ChosenPolicy]:
    """If nothing met the target, time the exits once more to confirm it."""
    start = read_device_state()
    progress = _rename_progress(plan.progress, "timing every exit again")
    costs = time_exits(runner, split.data, plan.seconds * _EXITS_SHARE, plan.seed + 2, progress)
    states = start, read_device_state()
    reasons = (*explain_noisy_costs(costs, states, runner.settings.threads), *explain_changed_times(before, costs))
    try:
        errors = TimingErrors(costs.error, costs.ratio_error)
        return costs, reasons, _choose(split.attach_costs(costs), plan, errors, noisy=bool(reasons))
    except TargetNotMet as refusal:
        raise Infeasible(refusal, split.attach_costs(costs), costs, reasons) from None


def _time_exits(runner: Runner, data: Dataset, plan: CalibrationPlan) -> MeasuredCosts:
    """Once more where a later exit was faster than one before it."""
    seconds, progress = plan.seconds * _EXITS_SHARE, _rename_progress(plan.progress, "timing every exit")
    costs = time_exits(runner, data, seconds, plan.seed, progress)
    if costs.falling:
        costs = time_exits(
            runner, data, seconds, plan.seed + 1, _rename_progress(plan.progress, "timing every exit again")
        )
    return costs


def _run(
    runner: Runner, split: CalibrationData, chosen: ChosenPolicy, plan: CalibrationPlan, earlier: _InitialState
) -> CalibrationSession:
    """Run the runner's policy once and check every bound."""
    turn, before = earlier.turn, read_device_state()
    progress = _rename_progress(plan.progress, f"running the chosen policy, round {turn}")
    trial = try_policy(runner, split.validate, plan.seconds * (1 - _EXITS_SHARE) / 2, plan.seed + turn, progress)
    after = read_device_state()
    states = (before if after.monotonic_s - before.monotonic_s >= _LOOK_S else earlier.started), after
    split = split.attach_costs(trial.costs)
    run = PolicyRun(
        figures=_compute_measured_figures(split, trial),
        validation=split.validate_table,
        whole=ExitSample.from_thresholds(split.whole, chosen.policy.thresholds, plan.candidates),
        trial=trial,
        reasons=explain_noise(trial, earlier.costs, states, runner.settings.threads),
        proved=chosen.certificate is not None,
    )
    predicted = split.predict(chosen.policy.thresholds)
    checks = check_bounds(split.choose, plan.target, predicted, run)
    return CalibrationSession(split, chosen, run, checks, predicted, states, judge(*states))


def _compute_measured_figures(split: CalibrationData, trial: PolicyTiming) -> PolicyPerformance:
    outcome = split.validate_table.evaluate_leaves(trial.leaves)
    labels = split.validate.labels
    return PolicyPerformance(
        samples=len(trial.leaves),
        accuracy=None if labels is None else float(np.mean(trial.labels == labels)),
        agreement=outcome.agreement,
        mean_s=trial.mean_s,
        p50_s=nearest_rank(trial.latency_s, 50.0),
        p99_s=nearest_rank(trial.latency_s, 99.0),
        exit_rates=outcome.exit_rates,
        energy_j=outcome.energy_j,
        macs=outcome.macs,
    )


def _choose(split: CalibrationData, plan: CalibrationPlan, errors: TimingErrors, *, noisy: bool) -> ChosenPolicy:
    plan.progress("choosing thresholds", 0, 1)
    try:
        chosen = (
            _choose_and_prove(split, plan, errors) if plan.confidence is not None else _choose_best(split, plan, errors)
        )
    except TargetNotMet as refusal:
        nearest = _explain_noise_refusal(split.choose, plan.target, errors, refusal, noisy=noisy)
        if nearest is None or plan.confidence is not None:  # a proof that was asked for is not given up
            raise
        chosen = _choose_for(build_problem(split.choose, nearest), split, plan)
    plan.progress("choosing thresholds", 1, 1)
    return chosen


def _choose_best(split: CalibrationData, plan: CalibrationPlan, errors: TimingErrors) -> ChosenPolicy:
    problem = build_problem(split.choose, plan.target)
    wanted = tighten_target(problem, errors, len(split.whole), plan.candidates)
    return _choose_for(problem.with_target(wanted), split, plan)


def _choose_for(problem: Problem, split: CalibrationData, plan: CalibrationPlan) -> ChosenPolicy:
    if split.shards is not None:
        policy = optimise_parts(split.shards, problem.target, seed=plan.seed)
        return ChosenPolicy(policy, PolicyChoice("exact", {}), None, problem.target)
    policy, choice = choose_policy_for(problem, seed=plan.seed, effort=EFFORT, method=plan.method)
    return ChosenPolicy(policy, choice, None, problem.target)


def _choose_and_prove(split: CalibrationData, plan: CalibrationPlan, errors: TimingErrors) -> ChosenPolicy:
    """Proved with limits on time tightened by the error of the times, which a proof takes as exact; else with the target as it is."""
    assert split.certify is not None
    closer = tighten_time_limits(plan.target, errors)
    for wanted in (closer, plan.target):
        try:
            policy, certificate = certify(
                split.choose, split.certify, wanted, confidence=plan.confidence or 0.0, seed=plan.seed, rounds=ROUNDS
            )
        except TargetNotMet:
            if wanted == plan.target:
                raise
            continue
        return ChosenPolicy(
            policy, PolicyChoice("exact", {}), _restate_certificate(certificate, wanted, plan.target), wanted
        )
    raise AssertionError  # the loop returns or raises


def _restate_certificate(certificate: Certificate, proved: Target, asked: Target) -> Certificate:
    """A certificate of a tighter bound also holds for the requested bound."""
    names = {str(p): str(a) for p, a in zip(proved.bounds, asked.bounds, strict=True)}
    return replace(
        certificate,
        p_values={names[name]: p for name, p in certificate.p_values.items()},
        needed={names[name]: n for name, n in certificate.needed.items()},
    )


def _explain_noise_refusal(
    table: ReplayTable, target: Target, errors: TimingErrors, refusal: TargetNotMet, *, noisy: bool
) -> Target | None:
    """The nearest target that can be met, where the error of the times alone may be why the target itself cannot."""
    looser = loosen_time_limits(target, errors, noisy=noisy)
    if looser == target or not is_met(build_problem(table, looser)):
        return None
    return looser if refusal.nearest is None else parse_target(refusal.nearest)


def _add_energy(runner: Runner, split: CalibrationData, plan: CalibrationPlan) -> CalibrationData:
    """The tables with measured energies where the target asks for them; where no meter answers, the target is refused with the reason."""
    if not plan.target.needs_meter:
        return split
    samples, how = split_samples(split.validate.inputs), EnergyOptions(seed=plan.seed)
    report = measure_runner_energy(runner, samples, how, progress=plan.progress)
    joules = {c.name: c.gross_j for c in report.calls}
    energy_j = [j for j in (joules.get(f"exit {k}") for k in range(1, runner.exits + 1)) if j is not None]
    if report.reason or len(energy_j) < runner.exits:
        msg = f"the target bounds energy, which cannot be measured here: {report.reason or 'a loop gave no value'}; bound macs<= instead."
        raise InputError(msg)
    return split.attach_energy(energy_j)


def _rename_progress(progress: Progress, what: str) -> Progress:
    """The same progress callback, with another name for the work."""
    renamed: Callable[[str, int, int], None] = lambda _, done, total: progress(what, done, total)  # noqa: E731
    return renamed
