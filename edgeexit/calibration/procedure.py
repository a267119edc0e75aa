"""Calibrate a bundle on the device it will run on.

check the data ─► split ─► replay every exit ─► time every exit ─► choose ─► run the choice on the device ─► judge ─► write
▲                             │
└── costs moved: choose again ┘   (at most twice)
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

import edgeexit
from edgeexit.arguments import as_seconds, as_whole, check_progress
from edgeexit.calibration.certify import Certificate, certify, samples_needed
from edgeexit.calibration.device import (
    Costs,
    Trial,
    priced,
    replay_answers,
    singles,
    time_exits,
    try_policy,
    with_energy,
)
from edgeexit.calibration.front import front
from edgeexit.calibration.guard import Choice, check_method, choose
from edgeexit.calibration.judge import accuracy_interval, checks_of, tolerance_of
from edgeexit.calibration.kept import keep, now, own_thresholds
from edgeexit.calibration.plausibility import Evidence, Finding, find_implausible, refuse_implausible
from edgeexit.calibration.problem import problem_of
from edgeexit.calibration.replay import ReplayTable, with_origin
from edgeexit.calibration.result import SCHEMA, Calibration, Figures, Parts, curve_of, exit_rows
from edgeexit.calibration.search import Effort, Policy
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.calibration.verdicts import Verdict, recommend_heads, sampling_error, verdicts_of
from edgeexit.data import Dataset, check_labels, checked, indices_sha256, read_fingerprint, split_calibration
from edgeexit.data.fingerprint import KEY as TRAINING
from edgeexit.documents import to_document
from edgeexit.errors import BundleError, InputError
from edgeexit.graph.onnx_files import load_binary
from edgeexit.hardware import DeviceState, device_facts, judge, snapshot
from edgeexit.measure.energy import energy_of
from edgeexit.measure.statistics import nearest_rank
from edgeexit.progress import Progress, in_notebooks
from edgeexit.runtime import CalibrationWarning, Runner, model_info
from edgeexit.runtime.calibrations import key_here

SECONDS = 6.0
"""Wall time of the timing, by default."""
EFFORT = Effort(work=10.0)
_EXITS_SHARE = 0.35
_ROUNDS = 3
_FEWEST = 20
_LARGEST_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class _Plan:
    """What was asked."""

    target: Target
    confidence: float | None
    seed: int
    seconds: float
    method: str | None
    progress: Progress
    force: bool


@dataclass(frozen=True, eq=False)
class _Chosen:
    policy: Policy
    choice: Choice
    certificate: Certificate | None


@dataclass(frozen=True, eq=False)
class _Split:
    """The data and its replay tables, without costs: choose, certify (only with confidence), validate."""

    choose: ReplayTable
    certify: ReplayTable | None
    validate: Dataset
    validate_table: ReplayTable
    parts: Parts
    findings: tuple[Finding, ...]

    def priced(self, costs: Costs) -> _Split:
        """With measured costs in all tables."""
        proof = None if self.certify is None else priced(self.certify, costs)
        return replace(
            self, choose=priced(self.choose, costs), certify=proof, validate_table=priced(self.validate_table, costs)
        )


@dataclass(frozen=True, eq=False)
class _Session:
    """What was chosen, how it ran, and the state of the device before and after."""

    split: _Split
    chosen: _Chosen
    trial: Trial
    states: tuple[DeviceState, DeviceState]


def calibrate(
    runner: Runner,
    inputs: Any,
    labels: Any = None,
    *,
    target: str | Target,
    confidence: float | None = None,
    seed: int = 0,
    seconds: float = SECONDS,
    method: str | None = None,
    name: str = "data",
    force: bool = False,
    save_as: str | None = None,
    dry_run: bool = False,
    progress: Progress = in_notebooks,
) -> Calibration:
    """Find the thresholds that meet a target on this device, run them here, and keep them in the bundle.

    Args:
        runner: an open bundle; afterwards it has the thresholds, if the target is met.
        inputs: float32 [n, ...], or arrays by input name; samples that the network was not trained on.
        labels: [n] whole numbers from 0; None tunes for agreement with the backbone.
        target: such as "mean<=0.6x, drop<=0.5"; `edgeexit.calibration.targets` has the grammar.
        confidence: prove the bounds with it, on a part of the data of its own (0.95).
        seed: of splits, folds, bootstraps and the order of timing.
        seconds: of timing altogether.
        method: one way of choosing (exact, bagged, exit_distribution, shared) instead of the guarded choice.
        name: of the data, for the record.
        force: calibrate although the data are implausible (`edgeexit.calibration.plausibility`); the findings are recorded.
        save_as: name of the calibration in the bundle's history; None takes `cal-<n>`.
        dry_run: write nothing, and leave the runner's thresholds.
        progress: called with what is being done; by default a line that counts in a notebook, and nothing elsewhere.

    Returns:
        The calibration. It is kept in the bundle's history, and where its target is met it becomes the active one.
        `met` is False where the device did not confirm the prediction or a bound.

    Raises:
        InputError: the target, the method, the data, data that the network was trained on, or implausible data.
        BundleError: the bundle cannot be written, or was compiled anew meanwhile; the error has the calibration
            (`error.calibration`) and the file that it was written to instead (`error.written_to`).
        TargetNotMet: nothing meets the target; names the nearest that can be met. Nothing is written.
    """
    if not isinstance(runner, Runner):
        msg = f"runner must be an open bundle, as edgeexit.load(path) gives it, not {runner!r}."  # type: ignore[unreachable]
        raise InputError(msg)
    seed, seconds = as_whole("seed", seed, 0, _LARGEST_SEED), as_seconds("seconds", seconds)
    check_progress(progress)
    check_method(method)
    plan = _Plan(parse_target(target), confidence, seed, seconds, method, progress, force)
    if save_as is not None:
        runner.bundle.check_calibration_name(save_as)
    data = _checked(runner, inputs, labels, name)
    if not dry_run:
        _check_place(runner)
    split = _split(runner, data, plan)
    were = runner.inner_thresholds
    try:
        session = _chosen_and_tried(runner, data, split, plan)
    finally:
        runner.inner_thresholds = were
    result = _result(runner, session, plan)
    if not dry_run:
        keep(runner, result, session.split.choose, save_as=save_as, progress=progress)
    return result


def _check_place(runner: Runner) -> None:
    """Say before the work where its result will go."""
    try:
        runner.bundle.check_writable()
    except BundleError as error:
        runner.bundle.refuse_recompiled()  # the measurement would be of a network that is no longer there
        warnings.warn(f"{error} The calibration will be written to a file elsewhere.", CalibrationWarning, stacklevel=3)


def _checked(runner: Runner, inputs: Any, labels: Any, name: str) -> Dataset:
    _refuse_masked(inputs if isinstance(inputs, Mapping) else {"x": inputs}, labels)
    data = checked(name, inputs, labels, model_info(runner.bundle))
    if data.labels is not None:
        check_labels(data, runner.classes)
    if len(data) < _FEWEST:
        msg = f"{name} has {len(data)} samples; a calibration needs {_FEWEST} at the very least, and some thousands to be worth much."
        raise InputError(msg)
    _refuse_training_data(runner, data)
    return data


def _refuse_masked(inputs: Mapping[Any, Any], labels: Any) -> None:
    """NumPy would take what is masked as any other value."""
    for name, array in {**inputs, "y": labels}.items():
        if isinstance(array, np.ma.MaskedArray):
            what = "is a masked array, and what is masked would be taken as any other value"
            msg = f"{name} {what}: fill it (x.filled(0)) or leave those samples out."
            raise InputError(msg)


def _refuse_training_data(runner: Runner, data: Dataset) -> None:
    model = load_binary(runner.bundle.file(runner.bundle.manifest.model))
    for entry in model.metadata_props:
        if entry.key == TRAINING:
            read_fingerprint(entry.value).refuse(data)


def _split(runner: Runner, data: Dataset, plan: _Plan) -> _Split:
    shares = (0.8, 0.2) if plan.confidence is None else (0.4, 0.4, 0.2)
    indices = split_calibration(len(data), plan.seed, shares)
    if plan.confidence is not None:
        _refuse_early(plan, len(indices[1]))
    replayed, answers = replay_answers(runner, data, plan.progress)
    table = with_origin(replayed, **_origin(runner, data))
    problem_of(table, _without_energy(plan.target))  # refuses what the data cannot answer before anything is timed
    findings = find_implausible(Evidence(data, answers, runner.classes, plan.target, runner.bundle.manifest))
    if not plan.force:
        refuse_implausible(findings, data.name)
    hashes = [indices_sha256(i) for i in indices]
    parts = Parts(
        choose=len(indices[0]),
        certify=0 if plan.confidence is None else len(indices[1]),
        validate=len(indices[-1]),
        seed=plan.seed,
        choose_sha256=hashes[0],
        certify_sha256=None if plan.confidence is None else hashes[1],
        validate_sha256=hashes[-1],
        data=data.name,
        data_sha256=data.sha256,
    )
    proof = None if plan.confidence is None else table.take(indices[1])
    return _Split(table.take(indices[0]), proof, data.take(indices[-1]), table.take(indices[-1]), parts, findings)


def _refuse_early(plan: _Plan, samples: int) -> None:
    """Say how many samples a proof needs before anything is measured."""
    assert plan.confidence is not None
    needed = samples_needed(plan.target, plan.confidence, rounds=_ROUNDS)
    short = {bound: n for bound, n in needed.items() if n > samples}
    if short:
        listed = ", ".join(f"{bound} needs {n}" for bound, n in short.items())
        msg = f"the certify part has {samples} samples; at {plan.confidence:g} confidence {listed}. It is 40 % of the data: give more."
        raise InputError(msg)


def _chosen_and_tried(runner: Runner, data: Dataset, split: _Split, plan: _Plan) -> _Session:
    """Time the exits, choose, run; where the run shows other costs that break a limit on time, choose again with those."""
    before, seed, share = snapshot(), plan.seed, (1 - _EXITS_SHARE) / 2
    costs = time_exits(runner, data, plan.seconds * _EXITS_SHARE, seed, _named(plan.progress, "timing every exit"))
    split = _with_energy(runner, split, plan)
    for turn in range(1, _ROUNDS + 1):
        split = split.priced(costs)
        chosen = _choose(split, plan)
        runner.inner_thresholds = chosen.policy.thresholds
        told = _named(plan.progress, f"running the chosen policy, round {turn}")
        trial = try_policy(runner, split.validate, plan.seconds * share, seed + turn, told)
        costs = trial.costs
        if _still_fits(split.priced(costs).choose, plan.target, chosen.policy):
            break
    return _Session(split.priced(costs), chosen, trial, (before, snapshot()))


def _still_fits(table: ReplayTable, target: Target, policy: Policy, room: float = 0.005) -> bool:
    """Whether the costs of the run keep the limits on time, within half a per cent."""
    problem = problem_of(table, target)
    return problem.violation(table.leaves_at(policy.thresholds)) <= room


def _choose(split: _Split, plan: _Plan) -> _Chosen:
    plan.progress("choosing thresholds", 0, 1)
    if plan.confidence is not None and split.certify is not None:
        policy, certificate = certify(
            split.choose, split.certify, plan.target, confidence=plan.confidence, seed=plan.seed, rounds=_ROUNDS
        )
        chosen = _Chosen(policy, Choice("exact", {}), certificate)
    else:
        policy, choice = choose(split.choose, plan.target, seed=plan.seed, effort=EFFORT, method=plan.method)
        chosen = _Chosen(policy, choice, None)
    plan.progress("choosing thresholds", 1, 1)
    return chosen


def _without_energy(target: Target) -> Target:
    rest = tuple(b for b in target.bounds if b.metric != "energy")
    return Target(rest) if rest else parse_target("mean<=1000s")


def _with_energy(runner: Runner, split: _Split, plan: _Plan) -> _Split:
    """The tables with measured energies where the target asks for them; where no meter answers, the target is refused with the reason."""
    if not any(b.metric == "energy" for b in plan.target.bounds):
        return split
    report = energy_of(runner, singles(split.validate), seed=plan.seed, progress=plan.progress)
    joules = {c.name: c.gross_j for c in report.calls}
    energy_j = [j for j in (joules.get(f"exit {k}") for k in range(1, runner.exits + 1)) if j is not None]
    if report.reason or len(energy_j) < runner.exits:
        msg = f"the target bounds energy, which cannot be measured here: {report.reason or 'a loop gave no value'}; bound macs<= instead."
        raise InputError(msg)
    proof = None if split.certify is None else with_energy(split.certify, energy_j)
    return replace(
        split,
        choose=with_energy(split.choose, energy_j),
        certify=proof,
        validate_table=with_energy(split.validate_table, energy_j),
    )


def _measured(split: _Split, trial: Trial) -> Figures:
    outcome = split.validate_table.outcome_of(trial.leaves)
    labels = split.validate.labels
    return Figures(
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


def _result(runner: Runner, session: _Session, plan: _Plan) -> Calibration:
    split, chosen, trial, settings = session.split, session.chosen, session.trial, runner.settings
    table = split.choose
    policy = Policy.of(chosen.policy.inner, table.outcome(chosen.policy.thresholds), chosen.policy.gap)
    error = sampling_error(table, policy, len(trial.leaves))
    tolerance = tolerance_of(trial.noise_floor, error)
    predicted = Figures.predicted(table, table.outcome(policy.thresholds))
    measured = _measured(split, trial)
    checks = checks_of(table, plan.target, predicted, (measured, split.validate_table, trial), tolerance)
    on_track = abs(measured.mean_s / predicted.mean_s - 1) <= tolerance
    validity = judge(*session.states)
    return Calibration(
        schema=SCHEMA,
        created=now(),
        versions=_versions(),
        key=key_here(settings),
        device=dict(device_facts()),
        settings=asdict(settings),
        criterion=runner.criterion.name,
        unit=runner.criterion.unit,
        target=str(plan.target),
        confidence=plan.confidence,
        thresholds=own_thresholds(runner, policy),
        inner_thresholds=policy.thresholds,
        policy=policy,
        choice=chosen.choice,
        certificate=chosen.certificate,
        exits=exit_rows(table),
        backbone_mean_s=table.backbone_mean_s,
        backbone_p99_s=nearest_rank(trial.costs.backbone_s, 99.0),
        predicted=predicted,
        measured=measured,
        replayed_mean_s=split.validate_table.outcome_of(trial.leaves).mean_s,
        noise_floor=trial.noise_floor,
        sampling_error=error,
        accuracy_interval=accuracy_interval(measured),
        tolerance=tolerance,
        on_track=on_track,
        checks=checks,
        met=on_track and all(c.met for c in checks),
        validity=validity.status,
        reasons=validity.reasons,
        state={
            when: to_document(state.as_json()) for when, state in zip(("before", "after"), session.states, strict=True)
        },
        energy_reason=None if table.energy_j is not None else "not asked for: no bound of the target is on energy",
        verdicts=_verdicts(table, plan.target, policy),
        curve=curve_of(front(table)),
        parts=split.parts,
        findings=split.findings,
    )


def _verdicts(table: ReplayTable, target: Target, policy: Policy) -> tuple[Verdict, ...]:
    heads = recommend_heads(table, target, policy)
    return (*verdicts_of(table, policy), *((heads,) if heads else ()))


def _origin(runner: Runner, data: Dataset) -> dict[str, str]:
    return {
        "key": key_here(runner.settings),
        "model_sha256": runner.bundle.manifest.files[runner.bundle.manifest.model].sha256,
        "data": data.name,
        "data_sha256": data.sha256,
        "criterion": runner.criterion.name,
    }


def _versions() -> dict[str, str]:
    return {"edgeexit": edgeexit.__version__, "numpy": np.__version__, "python": platform.python_version()}


def _named(progress: Progress, what: str) -> Progress:
    """The same watcher, told another name of the work."""
    renamed: Callable[[str, int, int], None] = lambda _, done, total: progress(what, done, total)  # noqa: E731
    return renamed
