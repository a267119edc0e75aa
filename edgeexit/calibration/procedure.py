"""Calibrate a bundle on the device it will run on.

check the data ─► split ─► replay every exit ─► time every exit ─► choose ─► run the choice on the device ─► judge ─► write
                                                  ▲                                                            │
                                                  └── undecided, or costs moved: choose and run again ─────────┘   (at most twice)
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

import edgeexit
from edgeexit.bundle.calibration_document import SCHEMA
from edgeexit.calibration.data_parts import CalibrationData, CalibrationPlan, ReplayShards, split_data
from edgeexit.calibration.from_logits import read_labels
from edgeexit.calibration.headroom import compute_headroom
from edgeexit.calibration.judge import (
    check_predicted_bounds,
    compute_accuracy_interval,
    compute_tolerance,
    judge_infeasible,
    judge_run,
)
from edgeexit.calibration.kept import convert_to_own_thresholds, keep
from edgeexit.calibration.result import Calibration, make_curve, make_exit_rows
from edgeexit.calibration.session import CalibrationSession, Infeasible, choose_and_run
from edgeexit.calibration.solver.cross_validation import PolicyChoice, check_method
from edgeexit.calibration.solver.pareto_front import front
from edgeexit.calibration.solver.search import Policy
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.calibration.uncertainty import ExitSample
from edgeexit.calibration.verdicts import (
    Remark,
    compute_sampling_error,
    find_lost_classes,
    find_one_sided_data,
    find_remarks,
    find_single_classifier,
    recommend_heads,
)
from edgeexit.data import Dataset, check_labels, make_dataset, read_fingerprint
from edgeexit.data.fingerprint import KEY as TRAINING
from edgeexit.errors import BundleError, InputError, TargetNotMet
from edgeexit.graph.onnx_files import load_binary
from edgeexit.hardware import read_device_facts
from edgeexit.measure.statistics import nearest_rank
from edgeexit.runtime import CalibrationWarning, Runner, model_info
from edgeexit.runtime.calibrations import find_settings_key
from edgeexit.util.arguments import as_number_from, as_seconds, as_whole, check_progress
from edgeexit.util.documents import to_document
from edgeexit.util.progress import Progress, show_in_notebooks
from edgeexit.util.timestamps import make_timestamp
from edgeexit.util.units import format_count

SECONDS = 6.0
"""Wall time of the timing, by default."""
KEPT = "What was measured is kept: --from-curve (in Python, retune) tries another target without measuring again."
_FEWEST = 20
_LARGEST_SEED = (1 << 63) - 1


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
    plain: Any = None,
    candidates: float = 1.0,
    shards: ReplayShards | None = None,
    progress: Progress = show_in_notebooks,
) -> Calibration:
    """Find the thresholds that meet a target on this device, run them here, and keep them in the bundle.

    Args:
        runner: an open bundle; afterwards it has the thresholds, if the target is met.
        inputs: float32 [n, ...], or arrays by input name; samples that the network was not trained on.
        labels: [n] whole numbers from 0; None tunes for agreement with the backbone.
        target: such as "mean<=0.6x, drop<=0.5"; `edgeexit.calibration.targets` has the grammar.
        confidence: prove the bounds with it, on a part of the data of its own (0.95).
        seed: random seed of splits, folds, bootstraps and the order of timing.
        seconds: time to spend on timing, seconds.
        method: one way of choosing (exact, bagged, exit_distribution, shared) instead of the guarded choice.
        name: name of the data, recorded in the result.
        force: calibrate although the data are implausible (`edgeexit.calibration.plausibility`); the findings are recorded.
        save_as: name of the calibration in the bundle's history; None takes `cal-<n>`.
        dry_run: write nothing, and leave the runner's thresholds.
        plain: labels that another network gives the inputs, [n] whole numbers, from which drop and agreement are counted, such as those
            of the network before it was quantised; None: the bundle's own backbone.
        candidates: how many candidates (precisions, criteria, networks) these same data chose this bundle from, from 1: the best of many
            always looks a little better than it is, so that bounds are kept and judged with more room. Candidates that mostly err on the
            same samples count as fewer; `edgeexit tune` estimates as how many.
        shards: a replay table in shards of this network (`edgeexit.scale.ShardedTable`), of any number of samples: thresholds are chosen
            over all of them, read one at a time, and `inputs` time the exits and judge the choice. The bundle keeps 20,000 of them, for
            `retune`. Not with a confidence, `plain`, or a bound on energy.
        progress: called with what is being done; by default a line that counts in a notebook, and nothing elsewhere.

    Returns:
        The calibration. It is kept in the bundle's history, and where its target is met it becomes the active one. `verdict` says whether
        the bounds are met, not met or undecided, whether the mean was as predicted, and whether the machine was quiet; `met` is True where
        all bounds are met.

    Raises:
        InputError: the target, the method, the data, data that the network was trained on, or implausible data.
        BundleError: the bundle cannot be written, or was recompiled meanwhile; the error has the calibration
            (`error.calibration`) and the file that it was written to instead (`error.written_to`).
        TargetNotMet: nothing meets the target; names the nearest that can be met. What was measured is kept in the bundle's history, for
            `retune`.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> digits = load_data("digits:calibration")
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     found = edgeexit.calibrate(
        ...         runner, digits.inputs, digits.labels, target="accuracy>=0.9", seconds=0.5, dry_run=True
        ...     )
        >>> found.target, len(found.thresholds), found.predicted.accuracy >= 0.9
        ('accuracy>=0.9', 1, True)
    """
    if not isinstance(runner, Runner):
        msg = f"runner must be an open bundle, as edgeexit.load(path) gives it, not {runner!r}."  # type: ignore[unreachable]
        raise InputError(msg)
    seed, seconds = as_whole("seed", seed, 0, _LARGEST_SEED), as_seconds("seconds", seconds)
    check_progress(progress)
    check_method(method)
    wanted = parse_target(target)
    if save_as is not None:
        runner.bundle.check_calibration_name(save_as)
    data = _check_data(runner, inputs, labels, name)
    other = None if plain is None else read_labels(plain, len(data), runner.classes)
    candidates = as_number_from("candidates", candidates, 1)
    plan = CalibrationPlan(wanted, confidence, seed, seconds, method, progress, force, other, candidates, shards)
    if not dry_run:
        _check_place(runner)
    try:
        with runner.measuring():
            session = _choose_and_restore(runner, split_data(runner, data, plan), plan)
    except Infeasible as refusal:
        note = "" if dry_run else _save_measurement(runner, refusal, plan, save_as)
        raise TargetNotMet(f"{refusal}{note}", refusal.nearest) from None
    result = _build_result(runner, session, plan)
    if not dry_run:
        keep(runner, result, session.split.choose, save_as=save_as, progress=progress)
    return result


def _choose_and_restore(runner: Runner, split: CalibrationData, plan: CalibrationPlan) -> CalibrationSession:
    """Choose and run; the runner has its own thresholds again afterwards, whatever happened."""
    were = runner.inner_thresholds
    try:
        return choose_and_run(runner, split, plan)
    finally:
        runner.inner_thresholds = were


def _check_place(runner: Runner) -> None:
    """Say before the work where its result will go."""
    try:
        runner.bundle.check_writable()
    except BundleError as error:
        runner.bundle.refuse_recompiled()  # the measurement would be of a network that is no longer there
        warnings.warn(f"{error} The calibration will be written to a file elsewhere.", CalibrationWarning, stacklevel=3)


def _save_measurement(runner: Runner, refusal: Infeasible, plan: CalibrationPlan, save_as: str | None) -> str:
    """Keep what was measured; what to tell of it."""
    try:
        keep(
            runner,
            _build_infeasible_result(runner, refusal, plan),
            refusal.split.choose,
            save_as=save_as,
            progress=plan.progress,
        )
    except BundleError as error:
        return f" {error}"
    return f" {KEPT}"


def _check_data(runner: Runner, inputs: Any, labels: Any, name: str) -> Dataset:
    _refuse_masked(inputs if isinstance(inputs, Mapping) else {"x": inputs}, labels)
    data = make_dataset(name, inputs, labels, model_info(runner.bundle))
    if data.labels is not None:
        check_labels(data, runner.classes)
    if len(data) < _FEWEST:
        found = f"{name} has {format_count(len(data), 'sample')}"
        msg = f"{found}; a calibration needs {_FEWEST} at least; a few thousand are recommended."
        raise InputError(msg)
    _refuse_training_data(runner, data)
    return data


def _refuse_masked(inputs: Mapping[Any, Any], labels: Any) -> None:
    """NumPy would take what is masked as any other value."""
    for name, array in {**inputs, "y": labels}.items():
        if isinstance(array, np.ma.MaskedArray):
            what = "is a masked array, and masked values would be used as if they were data"
            msg = f"{name} {what}: fill it (x.filled(0)) or leave those samples out."
            raise InputError(msg)


def _refuse_training_data(runner: Runner, data: Dataset) -> None:
    model = load_binary(runner.bundle.file(runner.bundle.manifest.model))
    for entry in model.metadata_props:
        if entry.key == TRAINING:
            read_fingerprint(entry.value).refuse(data)


def _build_result(runner: Runner, session: CalibrationSession, plan: CalibrationPlan) -> Calibration:
    split, chosen, run = session.split, session.chosen, session.run
    table, trial = split.choose, run.trial
    policy = Policy.from_outcome(chosen.policy.inner, split.evaluate(chosen.policy.thresholds), chosen.policy.gap)
    error = compute_sampling_error(table, policy, len(trial.leaves))
    tolerance = compute_tolerance(trial.noise_floor, error)
    verdict = judge_run(plan.target, session.checks, run, session.predicted, tolerance)
    return Calibration(
        **_collect_setting(runner, plan, split, policy),
        choice=chosen.choice,
        certificate=chosen.certificate,
        backbone_p99_s=nearest_rank(trial.costs.backbone_s, 99.0),
        predicted=session.predicted,
        measured=run.figures,
        replayed_mean_s=split.validate_table.evaluate_leaves(trial.leaves).mean_s,
        noise_floor=trial.noise_floor,
        sampling_error=error,
        accuracy_interval=compute_accuracy_interval(run.figures),
        tolerance=tolerance,
        on_track=verdict.off_by is not None and verdict.off_by <= tolerance,
        checks=session.checks,
        met=verdict.met,
        validity=session.validity.status,
        reasons=session.validity.reasons,
        state={
            when: to_document(state.to_document())
            for when, state in zip(("before", "after"), session.states, strict=True)
        },
        verdicts=_collect_remarks(session, policy, plan.target, cascade=runner.bundle.manifest.is_cascade),
        chosen_for=str(chosen.wanted),
        verdict=verdict,
    )


def _build_infeasible_result(runner: Runner, found: Infeasible, plan: CalibrationPlan) -> Calibration:
    """The record of an unmet target: a calibration that never leaves early."""
    split, costs = found.split, found.costs
    table = split.choose
    never = np.full(table.exits - 1, np.inf, np.float32)
    policy = Policy.from_outcome(never, split.evaluate(never), None)
    predicted = split.predict(never)
    timing = None if found.reasons else costs.error
    checks = check_predicted_bounds(
        table, plan.target, predicted, ExitSample.from_thresholds(table, policy.thresholds, plan.candidates), timing
    )
    verdict = judge_infeasible(checks, costs.noise, found.reasons)
    return Calibration(
        **_collect_setting(runner, plan, split, policy),
        choice=PolicyChoice("exact", {}),
        certificate=None,
        backbone_p99_s=nearest_rank(costs.backbone_s, 99.0),
        predicted=predicted,
        measured=None,
        replayed_mean_s=None,
        noise_floor=costs.noise,
        sampling_error=0.0,
        accuracy_interval=None,
        tolerance=compute_tolerance(costs.noise, 0.0),
        on_track=None,
        checks=checks,
        met=False,
        validity="suspect" if found.reasons else "valid",
        reasons=found.reasons,
        state={},
        verdicts=(),
        verdict=verdict,
    )


def _collect_setting(runner: Runner, plan: CalibrationPlan, split: CalibrationData, policy: Policy) -> dict[str, Any]:
    """The fields of a calibration that need no run."""
    table, settings = split.choose, runner.settings
    return {
        "schema": SCHEMA,
        "created": make_timestamp(),
        "versions": _collect_versions(),
        "key": find_settings_key(settings),
        "device": dict(read_device_facts()),
        "settings": asdict(settings),
        "criterion": runner.criterion.name,
        "unit": runner.criterion.unit,
        "target": str(plan.target),
        "confidence": plan.confidence,
        "thresholds": convert_to_own_thresholds(runner, policy),
        "inner_thresholds": policy.thresholds,
        "policy": policy,
        "exits": make_exit_rows(table),
        "backbone_mean_s": table.backbone_mean_s,
        "energy_reason": None if table.energy_j is not None else "not asked for: no bound of the target is on energy",
        "curve": make_curve(front(table)),
        "parts": split.parts,
        "findings": split.findings,
        "headroom": compute_headroom(table, table.leaves_at(policy.thresholds)),
        "candidates": plan.candidates,
    }


def _collect_remarks(
    session: CalibrationSession, policy: Policy, target: Target, *, cascade: bool
) -> tuple[Remark, ...]:
    """The remarks; no head is advised to be dropped from times that cannot be trusted, nor where the last exit's answer needs it."""
    split, run = session.split, session.run
    unclear = run.noisy or not split.whole.last_is_backbone
    heads = None if unclear else recommend_heads(split.choose, target, policy)
    labels = split.data.labels
    classes = () if labels is None else find_lost_classes(split.answers, labels, run.whole.leaves)
    partial = find_one_sided_data(split.answers, labels, split.classes)
    single = find_single_classifier(split.choose, policy) if cascade and not run.noisy else None
    advice = [remark for remark in (heads, single) if remark is not None]
    return (*find_remarks(split.choose, policy), *partial, *classes, *advice)


def _collect_versions() -> dict[str, str]:
    return {"edgeexit": edgeexit.__version__, "numpy": np.__version__, "python": platform.python_version()}
